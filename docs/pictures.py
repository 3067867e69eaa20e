"""Makes the pictures of README from a search: `python docs/pictures.py runs/cifar10_small`.

They are pages of the project itself, as a browser shows them; any browser of the Chromium family will do.
"""

import argparse
import pathlib
import subprocess
import tempfile

import darts_tf

IMAGES = pathlib.Path(__file__).parent / "images"


def photograph(browser: str, page: pathlib.Path, picture: pathlib.Path, width: int, height: int) -> None:
    """Writes a picture of the top of a page."""
    size = f"--window-size={width},{height}"
    hidden = ("--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--force-device-scale-factor=1")
    command = [browser, *hidden, size, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def main() -> None:
    """Reads a search's work directory and writes `docs/images/*.png`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", help="of a search that has ended")
    parser.add_argument("--browser", default="chromium", help="chromium, google-chrome or another one of that family")
    asked = parser.parse_args()
    found = darts_tf.load(asked.workdir)
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder, "page.html")
        found.plot(page)
        photograph(asked.browser, page, IMAGES / "found.png", 1000, 1200)
        darts_tf.report(found, page)
        photograph(asked.browser, page, IMAGES / "report.png", 1000, 1200)


if __name__ == "__main__":
    main()
