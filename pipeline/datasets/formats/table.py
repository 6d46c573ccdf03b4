"""Every annotation format by name: how it is read, and what its subset words mean here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.formats import activitynet, ava, dense, epic, lvu, own, thumos14, trimmed
from pipeline.datasets.formats.class_map import apply_class_map
from pipeline.datasets.formats.common import Annotations, FormatError

COMMON_SUBSETS: Mapping[str, str] = {
    "train": "training", "training": "training", "val": "validation", "valid": "validation", "validate": "validation",
    "validation": "validation", "test": "testing", "testing": "testing", "auxiliary": "auxiliary",
}  # fmt: skip


@dataclass(frozen=True)
class Format:
    """One format: what it is, its reader, and which of our subsets its words mean (beyond the common ones)."""

    doc: str
    read: Callable[[Path, int], Annotations]
    subsets: Mapping[str, str] = field(default_factory=dict)


FORMATS: Mapping[str, Format] = {
    "own": Format("CSV video,label,t_start,t_end[,subset][,duration], or JSON of the same fields", own.read),
    "activitynet": Format(
        "ActivityNet 1.3 JSON, or BMN's anet_anno_action.json + video_info_new.csv", activitynet.read
    ),
    "hacs": Format("HACS_segments_v1.1.1.json", activitynet.read),
    # Everybody trains on THUMOS14's validation videos and tests on its test videos.
    "thumos14": Format("THUMOS14 text files, G-TAD's CSVs or JSON", thumos14.read, {"validation": "training"}),
    "charades": Format("Charades_v1_train/test.csv, or charades.json", dense.read_charades),
    "multithumos": Format("multithumos.json", dense.read_multithumos),
    "ava_segments": Format("AVA as segments, super-events' ava.json", dense.read_ava_segments),
    "kinetics": Format("kinetics-*_{train,val,test}.csv, or 'path label' lists", trimmed.read_kinetics),
    "ssv2": Format("something-something-v2-*.json", trimmed.read_ssv2),
    "ucf101": Format("trainlist0N.txt, testlist0N.txt, classInd.txt", trimmed.read_ucf101),
    "hmdb51": Format("<class>_test_splitN.txt, folder or archive", trimmed.read_hmdb51),
    "ava": Format("ava_{train,val}_v2.x.csv with label map and excluded key frames", ava.read),
    "epic100": Format("EPIC_100_train.csv, EPIC_100_validation.csv and class files", epic.read_100),
    "epic55": Format("EPIC_train_action_labels.csv and class files", epic.read_55),
    "lvu": Format("lvu_1.0/<task>/*.csv, or {train,val,test}.json", lvu.read),
}
"""Every format that ``check`` and the data set kind ``annotated`` read."""


def read_annotations(name: str, path: Path, split: int = 1, class_map: Path | None = None) -> Annotations:
    """Read annotations and rename their subsets to ours where the words are known.

    Args:
        name: of the format.
        path: file or folder, as the format's text says.
        split: which of the official splits, for sets with several.
        class_map: a file with the classes' names (:mod:`pipeline.datasets.formats.class_map`).

    Raises:
        FormatError: no such format, or the files are not in it.
    """
    if name not in FORMATS:
        raise FormatError(f"format is {name!r}; it must be one of {', '.join(FORMATS)}")
    chosen = FORMATS[name]
    if not Path(path).exists():
        raise FormatError(f"{path}: there is no such file or folder ({name}: {chosen.doc})")
    found = chosen.read(Path(path), split).renamed({**COMMON_SUBSETS, **chosen.subsets})
    return found if class_map is None else apply_class_map(found, class_map)
