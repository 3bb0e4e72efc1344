# randomForest as a head of trees: Rscript train_forest.R FOLDER
folder <- commandArgs(trailingOnly = TRUE)[1]
rows <- read.csv(file.path(folder, "rows.csv"), check.names = FALSE)
request <- jsonlite::fromJSON(file.path(folder, "request.json"))
set.seed(request$seed)
fitted <- randomForest::randomForest(label ~ ., data = rows, ntree = request$params$trees)

nodes <- leaves <- 0
column <- threshold <- left <- right <- values <- roots <- NULL
for (k in seq_len(fitted$ntree)) {
  tree <- randomForest::getTree(fitted, k)
  leaf <- tree[, "status"] == -1
  position <- leaves + cumsum(leaf) - 1
  roots <- c(roots, nodes)
  column <- c(column, ifelse(leaf, -1, tree[, "split var"] - 1))
  threshold <- c(threshold, ifelse(leaf, 0, tree[, "split point"]))
  left <- c(left, ifelse(leaf, position, tree[, "left daughter"] - 1 + nodes))
  right <- c(right, ifelse(leaf, 0, tree[, "right daughter"] - 1 + nodes))
  values <- c(values, tree[leaf, "prediction"])
  nodes <- nodes + nrow(tree)
  leaves <- leaves + sum(leaf)
}
head <- list(
  kind = jsonlite::unbox("trees"), aggregate = jsonlite::unbox("mean"),
  missing = jsonlite::unbox("null"), base = 0, roots = roots, targets = 0 * roots,
  column = column, threshold = threshold, missing_left = rep(FALSE, nodes),
  left = left, right = right, values = unname(values)
)
writeLines(jsonlite::toJSON(head, digits = I(17)), file.path(folder, "head.json"))
if (!is.null(request$params$expected)) {
  writeLines(sprintf("%.17g", predict(fitted, rows)), request$params$expected)
}
