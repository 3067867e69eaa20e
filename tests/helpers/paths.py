"""Where the checkout, the golden numbers and the real data are."""

import os
import pathlib

TESTS = pathlib.Path(__file__).resolve().parents[1]
HELPERS = TESTS / "helpers"
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared"
GOLDEN = pathlib.Path(os.environ.get("DARTS_TF_GOLDEN", SHARED / "golden"))
VARIANTS = pathlib.Path(os.environ.get("DARTS_TF_GOLDEN_VARIANTS", SHARED / "golden_variants"))
DATA = pathlib.Path(os.environ.get("DARTS_TF_DATA", SHARED / "data"))
PHOTOGRAPHS = DATA / "images" / "imagenette224-small.tar"

FOLDERS = ("darts_tf", "export", "bin")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
"""The files of the product."""
