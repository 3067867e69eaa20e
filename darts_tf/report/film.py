"""A slider through a search's cells over its epochs; without scripts, the last cells, with all others collapsed."""

import json
from collections.abc import Mapping, Sequence

from darts_tf.genotypes import Genotype
from darts_tf.report import drawings
from darts_tf.report.markup import Html, tag

# It copies the collapsed drawings below, so that none is in the page twice. What a run has written is only in
# attributes.
SCRIPT = Html("""
for (const film of document.querySelectorAll(".film")) {
  const bar = film.querySelector(".bar"), stage = film.querySelector(".stage");
  const [button, slider, said] = ["button", "input", "output"].map(name => bar.querySelector(name));
  const epochs = JSON.parse(slider.dataset.epochs), folded = [...film.querySelectorAll("details[data-first]")];
  let timer = 0;
  const show = () => {
    const [epoch, words] = epochs[slider.value];
    const seen = folded.filter(each => +each.dataset.first <= epoch && epoch <= +each.dataset.last);
    stage.replaceChildren(...seen.map(each => each.querySelector("figure").cloneNode(true)));
    said.textContent = words;
    slider.setAttribute("aria-valuetext", words);
  };
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "play"; };
  const next = () => { slider.value = +slider.value + 1; show(); if (slider.value === slider.max) stop(); };
  button.onclick = () => {
    if (timer) return stop();
    if (slider.value === slider.max) { slider.value = 0; show(); }
    button.textContent = "pause";
    timer = setInterval(next, Math.max(150, Math.min(800, 15000 / epochs.length)));
  };
  slider.oninput = () => { stop(); show(); };
  bar.hidden = false;
  show();
}
""")


def film(genotypes: Sequence[tuple[int, Genotype]], about: Mapping[int, str]) -> Html | None:
    """Returns a slider over the epochs with the cells of each, and all cells collapsed; None without any.

    Args:
        genotypes: `(epoch, genotype)`, ascending.
        about: Further text about an epoch.
    """
    folded = drawings.every_cell(genotypes)
    if len(genotypes) < 2:
        return folded
    words = [[epoch, f"epoch {epoch}" + (f": {about[epoch]}" if about.get(epoch) else "")] for epoch, _ in genotypes]
    last = str(len(words) - 1)
    bar = tag(
        "div",
        tag("button", "play", type="button"),
        tag("input", type="range", min="0", max=last, value=last, aria_label="epoch", data_epochs=json.dumps(words)),
        tag("output", words[-1][1]),
        class_="bar",
        hidden=True,  # until a script shows it
    )
    final = {stretch[0]: stretch for stretch in drawings.timeline(genotypes)}
    figures = [drawings.stretch_figure(stretch) for stretch in final.values()]
    return tag("div", bar, tag("div", *figures, class_="stage grid wide"), folded, class_="film")
