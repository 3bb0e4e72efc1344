"""The tables of images: one row per file, and one row per item for features."""

from matchlake.ingest.images.params import ImageSource
from matchlake.schemas import ITEM_ID, Column, TableSpec

IMAGE_COLUMNS = (
    Column("file", "STRING", "URL of the file", nullable=False),
    Column(
        ITEM_ID,
        "STRING",
        "Business key of the item; null: none in the file's name",
    ),
    Column("size", "BIGINT", "Bytes of the file", nullable=False),
    Column("modified_at", "TIMESTAMP", "Time of the file's last change, UTC", nullable=False),
    Column("format", "STRING", "Format of the file, such as JPEG; null: not known"),
    Column("mode", "STRING", "Form of a pixel in the file, such as RGB, L, P, CMYK or I;16"),
    Column("width", "INT", "Pixels of the image in the file"),
    Column("height", "INT", "Pixels of the image in the file"),
    Column("is_animated", "BOOLEAN", "Whether there are more frames; the first one is embedded"),
    Column("embedding", "ARRAY<FLOAT>", "Output of the model; null: the file is quarantined"),
    Column("model_hash", "STRING", "sha256 of the ONNX file", nullable=False),
    Column("settings_hash", "STRING", "Hash of the declared steps and limits", nullable=False),
    Column("device", "STRING", "Where the model ran: cpu or cuda"),
    Column("error_code", "STRING", "Why the file is quarantined; null: it is embedded"),
    Column("error_message", "STRING", "The same in words"),
    Column("embedded_at", "TIMESTAMP", "Start of the run that wrote the row, UTC", nullable=False),
)


def image_table(source: ImageSource) -> TableSpec:
    """One row per file: its embedding, or why it is quarantined."""
    return TableSpec(
        source.table,
        source.comment,
        IMAGE_COLUMNS,
        keys=("file",),
        user_columns=(),
        written_by="embed_images",
    )


def image_features(source: ImageSource, numbers: int = 0) -> TableSpec:
    """One row per item, one column per number of its embedding."""
    columns = [
        Column(embedding_column(each), "FLOAT", "A number of the image's embedding", nullable=False)
        for each in range(numbers)
    ]
    key = Column(ITEM_ID, "STRING", "Business key of the item", nullable=False)
    return TableSpec(
        source.features_table or "",
        f"Item features from images, of {source.table}.",
        (key, *columns) if columns else (),
        keys=(ITEM_ID,),
        user_columns=(),
        written_by="embed_images",
    )


def embedding_column(number: int) -> str:
    """The column of a number of the embedding."""
    return f"embedding_{number}"
