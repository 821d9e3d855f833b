"""The columns of every table that fusekit writes: name, Arrow type, unit and meaning.

Tables are written with these schemas even at 0 rows; no type is ever inferred. The reference
page ``docs/reference/schema.md`` is made from this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import pyarrow as pa

ArrowType: TypeAlias = "pa.DataType"
ArrowSchema: TypeAlias = "pa.Schema"


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type, and what a reader must know of its values."""

    name: str
    type: ArrowType
    meaning: str
    nullable: bool = False


_BOX = pa.list_(pa.float32(), 4)
_POINTS = pa.list_(pa.float32(), 10)
_DIGEST = pa.binary(16)

MANIFEST: Final = (
    Column("key", pa.string(), "unique in its dataset; the stem of the sample's tar members"),
    Column("dataset", pa.string(), "name of the dataset in the store"),
    Column("dataset_index", pa.int16(), "the dataset's integer in the store"),
    Column("kind", pa.string(), "labeled, unlabeled or evaluation"),
    Column(
        "identity",
        pa.string(),
        "the person as the dataset names them; null: unlabeled",
        nullable=True,
    ),
    Column("identity_index", pa.int32(), "the identity's integer in the dataset; -1: unlabeled"),
    Column("shard", pa.string(), "file name of the tar that holds the crop"),
    Column("offset", pa.int64(), "first byte of the crop's image in the shard"),
    Column("length", pa.int32(), "bytes of the crop's image; 0 after erasure"),
    Column("format", pa.string(), "jpg, png or raw (.npy)"),
    Column("width", pa.int16(), "crop width in pixels"),
    Column("height", pa.int16(), "crop height in pixels"),
    Column("source", pa.string(), "the raw item: relative path, plus #record in containers"),
    Column("source_digest", _DIGEST, "sha256 of the raw item's bytes, first 16 bytes"),
    Column("content_digest", _DIGEST, "sha256 of the crop's image bytes, first 16 bytes"),
    Column(
        "det_score", pa.float32(), "detector's score, 0 to 1; null: no detection ran", nullable=True
    ),
    Column(
        "bbox",
        _BOX,
        "x0, y0, x1, y1 of the face in source pixels; null: aligned crops, or none given",
        nullable=True,
    ),
    Column(
        "landmarks",
        _POINTS,
        "x, y of left eye, right eye, nose, left and right mouth corner "
        "as seen in the image, in source pixels; null: aligned crops",
        nullable=True,
    ),
    Column("face_count", pa.int16(), "faces the detector found in the item; -1: not looked for"),
    Column(
        "eye_distance",
        pa.float32(),
        "between the eyes, in source pixels; null as above",
        nullable=True,
    ),
    Column(
        "yaw",
        pa.float32(),
        "head turn in degrees estimated from the landmarks, 0 frontal, "
        "positive towards the image's right; null as above",
        nullable=True,
    ),
    Column("sharpness", pa.float32(), "variance of the Laplacian of the grey crop"),
    Column("brightness", pa.float32(), "mean of the grey crop, 0 to 255"),
    Column(
        "jpeg_quality",
        pa.int16(),
        "IJG quality of the raw JPEG, from its quantisation table; null: no JPEG",
        nullable=True,
    ),
    Column("channels", pa.int8(), "3: colour; 1: the crop is grey"),
    Column("media", pa.string(), "still or video"),
    Column(
        "time_ms",
        pa.int64(),
        "position of a video frame in milliseconds; null: still",
        nullable=True,
    ),
    Column(
        "frame",
        pa.int32(),
        "number of a video frame as its release counts; null: still, or not known",
        nullable=True,
    ),
    Column(
        "video",
        pa.string(),
        "the video that a frame is from, unique in its dataset; null: still",
        nullable=True,
    ),
    Column(
        "split", pa.string(), "the release's own part: train, val, test; null: none", nullable=True
    ),
    Column(
        "hint_iou",
        pa.float32(),
        "overlap of the face with the source's own box or landmarks, 0 to 1; null: no hint",
        nullable=True,
    ),
    Column(
        "url", pa.string(), "where the raw item was fetched from; null: not known", nullable=True
    ),
    Column("unit", pa.int32(), "number of the work unit, and of the shard"),
)

REJECTS: Final = (
    Column("source", pa.string(), "the raw item, as in the manifest"),
    Column("level", pa.string(), "item: the item gave no sample; face: one face of a kept item"),
    Column("reason", pa.string(), "one of the reasons listed below"),
    Column("detail", pa.string(), "what was found, one line"),
    Column("identity", pa.string(), "the item's identity; null: unlabeled", nullable=True),
    Column("bbox", _BOX, "the face that was left out, in source pixels; null: none", nullable=True),
    Column("det_score", pa.float32(), "its score; null: none", nullable=True),
    Column("url", pa.string(), "where the raw item is from; null: not known", nullable=True),
    Column("unit", pa.int32(), "number of the work unit"),
)

PLAN: Final = (
    Column("item", pa.int64(), "number of the item in listing order"),
    Column("source", pa.string(), "unique in the dataset"),
    Column("size", pa.int64(), "bytes of the raw item"),
    Column("identity", pa.string(), "as the source spells it, NFC; null: unlabeled", nullable=True),
    Column("identity_index", pa.int32(), "its integer in the dataset; -1: unlabeled"),
    Column("split", pa.string(), "the release's own part; null: none", nullable=True),
    Column("offset", pa.int64(), "where the item starts in its container; 0 for plain files"),
    Column("bbox", _BOX, "the source's own box, in source pixels; null: none", nullable=True),
    Column("landmarks", _POINTS, "the source's own five points; null: none", nullable=True),
    Column("media", pa.string(), "still or video"),
    Column("time_ms", pa.int64(), "position of a video frame; null: still", nullable=True),
    Column("frame", pa.int32(), "number of a video frame; null: still", nullable=True),
    Column("video", pa.string(), "the video that a frame is from; null: still", nullable=True),
    Column("url", pa.string(), "where the item was fetched from; null: not known", nullable=True),
    Column(
        "reject",
        pa.string(),
        "why the listing alone already rejects the item; null: it is read",
        nullable=True,
    ),
    Column("reject_detail", pa.string(), "what was found, one line; null as above", nullable=True),
)

IDENTITIES: Final = (
    Column("identity_index", pa.int32(), "0..n-1 in the order that numbered them"),
    Column("identity", pa.string(), "as the source spells it, NFC"),
    Column(
        "name", pa.string(), "display name from the source's name table; null: none", nullable=True
    ),
)

_PAIR_HEAD = (
    Column("protocol", pa.string(), "the protocol that the pair is of, such as view-2"),
    Column("main", pa.bool_(), "the dataset's usual protocol, which the view pairs shows"),
    Column("fold", pa.int16(), "from 1; 0: the protocol has no folds"),
)
_PAIR_TAIL = (
    Column("same", pa.bool_(), "both are one person"),
    Column("source_a", pa.string(), "the first item, as in the manifest or the rejects"),
    Column("source_b", pa.string(), "the second item"),
)

PLAN_PAIRS: Final = (*_PAIR_HEAD, *_PAIR_TAIL)

PAIRS: Final = (
    *_PAIR_HEAD,
    Column("key_a", pa.string(), "the first sample; null: its item gave none", nullable=True),
    Column("key_b", pa.string(), "the second sample; null: its item gave none", nullable=True),
    *_PAIR_TAIL,
)

_TEMPLATE_HEAD = (
    Column("template", pa.int64(), "number of a set of images that are compared as one"),
    Column("media", pa.string(), "the photograph or video that the image is from", nullable=True),
)
_TEMPLATE_TAIL = (
    Column("source", pa.string(), "the item, as in the manifest or the rejects"),
    Column("score", pa.float32(), "the release's own weight of the image", nullable=True),
)

PLAN_TEMPLATES: Final = (*_TEMPLATE_HEAD, *_TEMPLATE_TAIL)

TEMPLATES: Final = (
    *_TEMPLATE_HEAD,
    Column("key", pa.string(), "the sample; null: its item gave none", nullable=True),
    *_TEMPLATE_TAIL,
)

TEMPLATE_PAIRS: Final = (
    Column("template_a", pa.int64(), "the first template"),
    Column("template_b", pa.int64(), "the second template"),
    Column("same", pa.bool_(), "both are one person"),
)

SEARCHES: Final = (
    Column("list", pa.string(), "gallery-1, gallery-2 or probe"),
    Column("template", pa.int64(), "a template of the list"),
    Column("subject", pa.string(), "the person it shows"),
)

EMBEDDINGS: Final = (
    Column("key", pa.string(), "the sample; rows stand in the order of the manifest's part"),
    Column(
        "identity", pa.string(), "as in the manifest; null: unlabeled, or erased", nullable=True
    ),
    Column("identity_index", pa.int32(), "as in the manifest; -1: unlabeled"),
    Column("dataset_index", pa.int16(), "the dataset's integer in the store"),
    Column(
        "embedding",
        pa.list_(pa.float16()),
        "the model's output scaled to unit length, a fixed-size list of its dimension; "
        "zeros after erasure",
    ),
    Column("norm", pa.float32(), "length of the model's output; 0 after erasure"),
)

ACTIVATIONS: Final = (
    Column("key", pa.string(), "the sample; exactly one row for each sample of the dataset"),
    Column("activation", pa.float32(), "largest softmax activation over the known datasets"),
    Column("cosine", pa.float32(), "of the embedding with the nearest known identity's centre"),
    Column("nearest_dataset", pa.string(), "dataset of the nearest known identity"),
    Column("nearest_identity", pa.string(), "the nearest known identity"),
    Column(
        "low_quality",
        pa.string(),
        "what makes the crop too poor to learn from, comma-separated; null: nothing does",
        nullable=True,
    ),
    Column(
        "duplicate_of",
        pa.string(),
        "key of a better copy of the same picture in the dataset; null: it is the best or only one",
        nullable=True,
    ),
)

_DECISION_OF_PAIR = Column(
    "decision", pa.string(), "same or different: one person or two; unsure: for a person to say"
)
_DECISION_OF_SAMPLE = Column(
    "decision", pa.string(), "keep or drop: what a recipe does; unsure: kept until a person says"
)

OVERLAP: Final = (
    Column("dataset_a", pa.string(), "dataset of the first identity"),
    Column("identity_a", pa.string(), "the first identity"),
    Column("identity_index_a", pa.int32(), "its integer in its dataset"),
    Column("dataset_b", pa.string(), "dataset of the second identity"),
    Column("identity_b", pa.string(), "the second identity"),
    Column("identity_index_b", pa.int32(), "its integer in its dataset"),
    Column("score", pa.float32(), "cosine of their nearest two templates"),
    Column("votes", pa.int32(), "image pairs over the image threshold, of those compared"),
    Column("compared", pa.int32(), "image pairs compared"),
    Column(
        "margin",
        pa.float32(),
        "score less the best that either of them has with anyone else of the other's dataset; "
        "null: there is nobody else",
        nullable=True,
    ),
    Column(
        "name_match",
        pa.bool_(),
        "their display names agree; null: one of them has none",
        nullable=True,
    ),
    Column(
        "false_match", pa.float32(), "share of pairs of strangers that score as much, estimated"
    ),
    _DECISION_OF_PAIR,
    Column("cluster", pa.int32(), "the person, 0..n-1 over all datasets; -1: none"),
)

CONTAMINATION: Final = (
    Column("dataset", pa.string(), "the training dataset"),
    Column("identity", pa.string(), "its identity"),
    Column("identity_index", pa.int32(), "its integer in its dataset"),
    Column("evaluation", pa.string(), "the evaluation set"),
    Column(
        "evaluation_identity",
        pa.string(),
        "the person there; null: the set has no identities, or a list does not say",
        nullable=True,
    ),
    Column("reason", pa.string(), "name, embedding or published, or several joined by +"),
    Column("score", pa.float32(), "cosine of the nearest two templates; null: none", nullable=True),
    Column("votes", pa.int32(), "image pairs over the image threshold, of those compared"),
    Column("compared", pa.int32(), "image pairs compared"),
    Column(
        "name_match",
        pa.bool_(),
        "their display names agree; null: one of them has none",
        nullable=True,
    ),
    _DECISION_OF_PAIR,
)

LABEL_NOISE: Final = (
    Column("key", pa.string(), "a sample that was flagged"),
    Column("identity", pa.string(), "its identity"),
    Column("identity_index", pa.int32(), "the identity's integer in the dataset"),
    Column(
        "flag",
        pa.string(),
        "outlier: like nobody of its identity; split: of the smaller of two people in one "
        "identity; mislabeled: nearer to another identity",
    ),
    Column("cluster", pa.int32(), "its cluster in the identity, 0 the largest; -1: alone"),
    Column("score", pa.float32(), "cosine with the centre of its identity's largest cluster"),
    Column(
        "nearest_identity",
        pa.string(),
        "the other identity whose centre is nearest; null: there is none",
        nullable=True,
    ),
    Column(
        "nearest_score", pa.float32(), "cosine with that centre; null: there is none", nullable=True
    ),
    _DECISION_OF_SAMPLE,
)

CLUSTERS: Final = (
    Column("key", pa.string(), "the sample; exactly one row for each sample of the dataset"),
    Column("cluster", pa.int32(), "its pseudo-identity, 0 the largest; -1: alone"),
    Column("size", pa.int32(), "samples in the cluster"),
    Column("score", pa.float32(), "cosine with the centre of its cluster; 0: alone"),
)

DUPLICATES: Final = (
    Column("group", pa.int32(), "copies of one picture have one number, 0..n-1"),
    Column("dataset", pa.string(), "dataset of the copy"),
    Column("key", pa.string(), "the copy"),
    Column("identity", pa.string(), "its identity; null: unlabeled", nullable=True),
    Column(
        "match",
        pa.string(),
        "how it was found: source (the raw item's bytes), content (the crop's bytes) or near",
    ),
    Column("distance", pa.int16(), "bits in which its perceptual hash differs from the best's"),
    Column(
        "cosine",
        pa.float32(),
        "of its embedding with the best copy's; null: bytes are equal, so nothing was compared",
        nullable=True,
    ),
    Column("quality", pa.float32(), "what the best copy is chosen by, 0 to 1"),
    Column("best", pa.bool_(), "the best copy of its group; each group has one"),
    Column("conflict", pa.bool_(), "copies of the group show different identities"),
    _DECISION_OF_SAMPLE,
)

_LABEL = Column("label", pa.int32(), "the sample's class in the mixture; -1: unlabeled")
_SOURCE_INDEX = Column(
    "source_index",
    pa.int16(),
    "the source's number in the mixture, in the recipe's order, labeled first; what batches "
    "call dataset_index",
)

MIXTURE_ROWS: Final = (*MANIFEST, _LABEL, _SOURCE_INDEX)

CLASSES: Final = (
    Column(
        "label",
        pa.int32(),
        "0..n-1; each dataset's labels are one contiguous range unless labels are merged",
    ),
    _SOURCE_INDEX,
    Column(
        "dataset",
        pa.string(),
        "name of the dataset in the store; of merged identities this and what follows are the "
        "first one's",
    ),
    Column("dataset_index", pa.int16(), "the dataset's integer in the store"),
    Column(
        "identity",
        pa.string(),
        "the person as the dataset names them; with #2 the second person of that identity, where "
        "the recipe splits it",
    ),
    Column("identity_index", pa.int32(), "the identity's integer in the dataset"),
    Column("name", pa.string(), "display name; null: none", nullable=True),
    Column("images", pa.int32(), "the label's rows in the mixture"),
    Column("first_row", pa.int64(), "where its rows begin in by_class.arrow"),
    Column("datasets", pa.list_(pa.string()), "every dataset that has an identity of this label"),
)

MEMBERS: Final = (
    Column("label", pa.int32(), "a class of the mixture"),
    Column("dataset", pa.string(), "name of the dataset in the store"),
    Column("identity", pa.string(), "an identity that has this label, as in the classes"),
)

SHARDS: Final = (
    Column("shard", pa.int32(), "0..n-1, in the order in which the index meets them"),
    Column("path", pa.string(), "the tar, relative to the store"),
    Column("sha256", pa.string(), "of the tar, 64 hex digits"),
    Column("size", pa.int64(), "bytes of the tar"),
)

INDEX: Final = (
    Column("shard", pa.int32(), "number of the tar in shards.parquet"),
    Column("offset", pa.int64(), "first byte of the image in the tar"),
    Column("length", pa.int32(), "bytes of the image; 0 after erasure"),
    _LABEL,
    Column("source", pa.int16(), "the source index"),
    Column("format", pa.int8(), "0: jpg, 1: png, 2: raw (.npy)"),
    Column("digest", pa.binary(8), "sha256 of the image bytes, first 8 bytes"),
)

TOMBSTONES: Final = (
    Column("dataset", pa.string(), "the dataset that the item was erased from"),
    Column("listing", pa.string(), "sha256 of the listing of the raw data that it was in"),
    Column("source_digest", _DIGEST, "digest of the item's source text"),
    Column(
        "item_digest",
        _DIGEST,
        "digest of the item's bytes; null: it gave no sample, so they are not known",
        nullable=True,
    ),
)

REJECT_REASONS: Final = {
    "missing": "a list of the release or --list names the item, but it is not there",
    "unlisted": "the item is there, but --list does not name it, or --exclude does",
    "not_downloaded": "the release says that the item could not be fetched",
    "no_landmarks": "--landmarks given, and the source gives none for the item",
    "unreadable": "the item can't be read: missing, changed since it was listed or a broken record",
    "empty": "the item has no bytes",
    "not_an_image": "the bytes are no image of a known type",
    "undecodable": "an image file that does not decode",
    "too_large": "more pixels or bytes than the limit; nothing was decoded",
    "wrong_size": "an aligned crop whose size is not the card's",
    "no_face": "the detector found no face",
    "low_score": "the face's score is under the limit",
    "face_too_small": "the eyes are closer than the limit",
    "not_chosen": "another face of the picture was taken (level face)",
    "forgotten": "fusekit forget erased the item; the source is a digest, not its text",
}


def schema_of(columns: tuple[Column, ...]) -> ArrowSchema:
    """Build the Arrow schema of a table's columns.

    Example:
        >>> schema_of(IDENTITIES).names
        ['identity_index', 'identity', 'name']
    """
    return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in columns])


def embeddings_schema(dim: int) -> ArrowSchema:
    """Build the Arrow schema of embeddings of ``dim`` numbers.

    Example:
        >>> str(embeddings_schema(128).field("embedding").type)
        'fixed_size_list<item: halffloat>[128]'
    """
    schema = schema_of(EMBEDDINGS)
    at = schema.get_field_index("embedding")
    field = pa.field("embedding", pa.list_(pa.float16(), dim), nullable=False)
    return schema.set(at, field)


MANIFEST_SCHEMA: Final = schema_of(MANIFEST)
REJECTS_SCHEMA: Final = schema_of(REJECTS)
PLAN_SCHEMA: Final = schema_of(PLAN)
PLAN_PAIRS_SCHEMA: Final = schema_of(PLAN_PAIRS)
PAIRS_SCHEMA: Final = schema_of(PAIRS)
PLAN_TEMPLATES_SCHEMA: Final = schema_of(PLAN_TEMPLATES)
TEMPLATES_SCHEMA: Final = schema_of(TEMPLATES)
TEMPLATE_PAIRS_SCHEMA: Final = schema_of(TEMPLATE_PAIRS)
SEARCHES_SCHEMA: Final = schema_of(SEARCHES)
IDENTITIES_SCHEMA: Final = schema_of(IDENTITIES)
ACTIVATIONS_SCHEMA: Final = schema_of(ACTIVATIONS)
OVERLAP_SCHEMA: Final = schema_of(OVERLAP)
CONTAMINATION_SCHEMA: Final = schema_of(CONTAMINATION)
LABEL_NOISE_SCHEMA: Final = schema_of(LABEL_NOISE)
CLUSTERS_SCHEMA: Final = schema_of(CLUSTERS)
DUPLICATES_SCHEMA: Final = schema_of(DUPLICATES)
TOMBSTONES_SCHEMA: Final = schema_of(TOMBSTONES)
MIXTURE_ROWS_SCHEMA: Final = schema_of(MIXTURE_ROWS)
CLASSES_SCHEMA: Final = schema_of(CLASSES)
MEMBERS_SCHEMA: Final = schema_of(MEMBERS)
SHARDS_SCHEMA: Final = schema_of(SHARDS)
INDEX_SCHEMA: Final = schema_of(INDEX)
