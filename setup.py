"""Packaging. `bin/` and `export/` install under `darts_tf`, so that nothing squats on the user's site-packages."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
COMMANDS = sorted(path.stem for path in (HERE / "bin").glob("[!_]*.py"))
ONNX = ["onnxruntime>=1.20", "tf2onnx>=1.17,<2"]  # darts-export --format=onnx
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "darts_tf/system/version.py").read_text())[1]

setup(
    name="darts_tf",
    version=VERSION,
    description="Differentiable architecture search (DARTS) for TensorFlow and Keras 3",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["darts_tf", "darts_tf.*"]), "darts_tf.bin", "darts_tf.export"],
    package_dir={"darts_tf.bin": "bin", "darts_tf.export": "export"},
    package_data={
        "darts_tf": ["py.typed"],  # of all that installs under it
        "darts_tf.genotypes": ["tables/*"],
    },
    install_requires=[
        "absl-py>=2.1,<3",
        "filelock>=3.30",  # `lock_descriptor`, since 3.30, locks a file or folder that is open already
        "graphviz>=0.20,<1",  # writes the language of Graphviz; it brings no program that draws
        "graphviz-pure>=0.2.1,<1",  # draws where there is no `dot`; a wheel with a port of Graphviz and its fonts
        "h5py>=3.11",  # Keras brings it; files of weights are looked into by it
        "importlib_resources>=6",  # tensorflow-datasets 4.9.10 imports it without declaring it
        "keras>=3.15,<3.16",
        "keras-tuner>=1.4.7,<2",
        "numpy>=2.0,<3",
        "pillow>=11.3",  # headers of image files, and the formats that TensorFlow does not read; AVIF since 11.3
        "psutil>=6",  # free and resident memory on every system
        "rich>=13",  # Keras depends on it; the progress bar uses it directly
        "scikit-learn>=1.5,<2",  # ships the embedded data set, 1,797 handwritten digits
        "tensorboard>=2.20,<2.22",  # TensorFlow 2.21 no longer installs it
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets>=4.9.9,<5",
        "tensorflow-serving-api>=2.21,<2.22",  # protocols only: warm-up requests, models.config, darts-predict
    ],
    extras_require={
        "dev": [
            "build",
            "hypothesis",
            "import-linter>=2.5",
            "mypy>=2.4,<2.5",  # another version finds other errors
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "setuptools>=77",
            "wheel",
            *ONNX,
            *("ai-edge-litert>=2.1,<3", "openvino>=2025.2"),  # run what darts-export writes, without TensorFlow
        ],
        "docs": [
            "ipykernel>=6.29",  # runs the tutorial
            "latex2mathml>=3.77,<4",
            "mkdocs>=1.6.1,<2",
            "mkdocs-material>=9.6,<10",
            "mkdocstrings-python>=2,<3",
            "nbclient>=0.10,<1",
        ],
        "onnx": ONNX,
        "torch": ["torch>=2.4"],  # only to read `.pt` files of the original
    },
    entry_points={
        "console_scripts": [f"darts-{name}=darts_tf.bin.{name}:main" for name in COMMANDS],
    },
)
