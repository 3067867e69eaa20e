"""The style of the page: one column on a phone, light or dark like the reader's system."""

STYLE = """
:root { --page: #fff; --text: #1b1f24; --soft: #5c6670; --line: #d8dde3; --card: #f6f8fa;
  --s0: #1d5fd0; --s1: #c4441c; --s2: #1e8449; --s3: #8e44ad; --s4: #b7791f; --s5: #0e7490; --s6: #be185d;
  --s7: #57606a; }
@media (prefers-color-scheme: dark) { :root { --page: #12161b; --text: #e4e8ec; --soft: #9aa5b1; --line: #343c45;
  --card: #1b2128; --s0: #79aaf7; --s1: #f2936f; --s2: #6fcf97; --s3: #c79be0; --s4: #e3b75f; --s5: #5fc6dc;
  --s6: #f28ab8; --s7: #aab4bf; } img { filter: brightness(1.25); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
section { border-top: 1px solid var(--line); margin-top: 2rem; }
figure { margin: 0; min-width: 0; } figcaption { color: var(--soft); font-size: .875rem; }
figcaption b { color: var(--text); }
code { font-size: .85em; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1.25rem; }
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.grid > .chart { align-self: end; } .chart svg { display: block; width: 100%; height: auto; }
.chart text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .grid { stroke: var(--line); } svg .mark { stroke: var(--soft); stroke-dasharray: 3 3; }
svg polyline { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
svg polyline.front { stroke: var(--soft); stroke-width: 1; }
svg circle.front { stroke: var(--text); stroke-width: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: 0 .9rem; }
.legend i { display: inline-block; width: .8em; height: .25em; margin-right: .35em; vertical-align: middle; }
COLOURS
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 16.5rem), 1fr)); gap: .9rem 1.25rem;
  margin-top: .5rem; }
.map > b { font-size: .8rem; } .rows { display: grid; grid-template-columns: 6.6rem 1fr; gap: .4rem;
  grid-template-rows: minmax(0, 1fr); }
.rows > div { display: flex; flex-direction: column; } .rows span { flex: 1; display: flex; align-items: center;
  justify-content: flex-end; font-size: .72rem; line-height: 1; color: var(--soft); white-space: nowrap; }
.rows span.best { color: var(--text); font-weight: 700; }
.rows img { width: 100%; height: 100%; image-rendering: pixelated; background: var(--page); }
.cell { background: var(--card); border-radius: .5rem; padding: .75rem; }
.drawing svg { display: block; width: 100%; max-width: 34rem; max-height: 36rem; margin: 0 auto; }
.drawing .edge text { fill: var(--text); } .drawing [stroke="#555555"] { stroke: var(--soft); }
.drawing [fill="#555555"] { fill: var(--soft); }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem .75rem; margin: .5rem 0; }
.bar[hidden] { display: none; } .bar input { flex: 1 1 12rem; accent-color: var(--s0); min-height: 2.25rem; }
.bar button { font: inherit; color: var(--text); background: var(--card); border: 1px solid var(--line);
  border-radius: .4rem; padding: .25rem .9rem; min-width: 5rem; cursor: pointer; }
.bar output { flex-basis: 100%; color: var(--soft); font-variant-numeric: tabular-nums; }
.stage { margin-bottom: 1rem; } .stage .drawing svg { height: 24rem; }
.stage .drawing + figcaption ul { display: none; }
.cell ul { list-style: none; padding: 0; margin: .25rem 0 0; }
.cell li span { display: inline-block; margin-right: .3em; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 8.5rem), 1fr)); gap: .5rem 1rem;
  margin: .75rem 0; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; min-width: min(100%, 32rem); margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-size: .8rem; color: var(--soft); font-weight: 600; vertical-align: bottom; overflow-wrap: normal; }
td { overflow-wrap: normal; } td:first-child, td:last-child { overflow-wrap: anywhere; }
td.short { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } .marked td { font-weight: 700; }
details { border-bottom: 1px solid var(--line); padding: .35rem 0; } summary { cursor: pointer; padding: .2rem 0; }
summary small { color: var(--soft); font-weight: 400; } details[open] > summary { font-weight: 700; }
.note { color: var(--soft); font-size: .875rem; }
@media (max-width: 40rem) {
  table, tbody { display: block; } thead { display: none; }
  tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: .1rem 0;
    overflow-wrap: anywhere; }
  td::before { content: attr(data-label); color: var(--soft); font-weight: 400; text-align: left; }
  td:first-child { font-weight: 700; } td:first-child::before { content: none; }
  td.nothing { display: none; }
}
@media print { details { break-inside: avoid; } }
""".replace(
    "COLOURS",
    "\n".join(
        f"polyline.s{i} {{ stroke: var(--s{i}); }} circle.s{i} {{ fill: var(--s{i}); }} "
        f"i.s{i} {{ background: var(--s{i}); }}"
        for i in range(8)
    ),
)
