# glm of base R as a linear head: Rscript train_glm.R FOLDER
folder <- commandArgs(trailingOnly = TRUE)[1]
request <- jsonlite::fromJSON(file.path(folder, "request.json"))
classes <- if (request$task == "classification") c(label = "character") else NA
rows <- read.csv(file.path(folder, "rows.csv"), check.names = FALSE, colClasses = classes)
set.seed(request$seed)

family <- request$params$family
labels <- NULL
if (family == "binomial") {
  labels <- request$labels
  rows$label <- as.integer(rows$label == labels[2])
}
fitted <- glm(label ~ ., family = family, data = rows)
weights <- coef(fitted)
head <- list(
  kind = "linear",
  link = c(gaussian = "identity", poisson = "exp", binomial = "logit")[[family]],
  labels = labels,
  weights = list(unname(weights[-1])),
  intercepts = list(unname(weights[1]))
)
if (is.null(labels)) head$labels <- NULL
text <- jsonlite::toJSON(head, auto_unbox = TRUE, digits = I(17))
writeLines(text, file.path(folder, "head.json"))

# What R predicts itself, for the test of this script.
if (!is.null(request$params$expected)) {
  writeLines(sprintf("%.17g", predict(fitted, rows, type = "response")), request$params$expected)
}
