// Several runs that met the same tasks: rliable's statistics, adaptation, and what training took.
const PARTS = [standing, curves, improvement, profiles, efficiency];

function subtitle() {
  return [
    word("compareText", {
      tasks: CONTENTS.tasks,
      split: CONTENTS.split,
      actions: word(CONTENTS.greedy ? "greedy" : "sampled"),
    }),
  ];
}

function lookOf(index) {
  return { ...CONTENTS.runs[index].look, width: 2.5 };
}

function runsLegend(runs = d3.range(CONTENTS.runs.length)) {
  return legend(
    runs.map((index) => {
      const { run, algorithm, seeds } = CONTENTS.runs[index];
      const many = word(seeds.length > 1 ? "seeds" : "seed", { seeds: seeds.join(", "), seed: seeds[0] });
      return { look: lookOf(index), text: `${index + 1}: ${run} (${algorithm}, ${many})` };
    }),
  );
}

// A value with its interval, a row each.
function intervalPlot(rows, label, width, domain) {
  return plot({
    width,
    height: 74 + 34 * rows.length,
    marginLeft: 64,
    marginTop: 12,
    x: {
      label,
      domain,
      nice: !domain,
      grid: true,
      ticks: Math.max(3, width / 110),
      tickFormat: tick,
    },
    y: { label: null, domain: rows.map(({ name }) => name), tickSize: 0 },
    marks: [
      domain ? Plot.ruleX([0.5], { stroke: "var(--quiet)", strokeDasharray: "3,3" }) : null,
      Plot.ruleY(rows, {
        y: "name",
        x1: "low",
        x2: "high",
        stroke: ({ look }) => look.color,
        strokeWidth: 7,
        strokeOpacity: 0.3,
        ariaDescription: "intervals",
      }),
      ...rows.map((row) =>
        Plot.dot([row], {
          x: "value",
          y: "name",
          fill: row.look.color,
          symbol: row.look.symbol,
          r: 6,
          ariaDescription: "values",
        }),
      ),
    ],
  });
}

function standing() {
  const rows = CONTENTS.runs.map(({ mean, mean_low, mean_high }, index) => ({
    name: String(index + 1),
    value: mean,
    low: mean_low,
    high: mean_high,
    look: lookOf(index),
  }));
  const heads = [word("run"), word("mean"), word("interval"), word("overWhat"), word("iqm"), word("stepsASeed")];
  const figures = Object.keys(CONTENTS.runs[0].figures ?? {});
  for (const name of figures) heads.push(name, word("interval"));
  const steps = ({ training }) => number(training.at(-1)?.[0]);
  return section(
    "standing",
    element("p", { class: "note" }, compareNotes().join(" ")),
    runsLegend(),
    chart((width) => intervalPlot(rows, word("trialReturn"), width), word("standing")),
    details(
      word("numbers"),
      table(
        heads,
        CONTENTS.runs.map((run, index) => [
          String(index + 1),
          number(run.mean),
          ends(run.mean_low, run.mean_high),
          run.interval_over ? word(run.interval_over) : "",
          run.seeds.length > 1 ? number(run.iqm) : "",
          steps(run),
          ...figures.flatMap((name) => {
            const found = run.figures[name];
            return [number(found.mean), ends(found.mean_low, found.mean_high)];
          }),
        ]),
      ),
    ),
  );
}

function compareNotes() {
  const notes = [word("standingText", { episodes: CONTENTS.episodes })];
  const alone = d3.range(CONTENTS.runs.length).filter((index) => CONTENTS.runs[index].seeds.length < 2);
  if (alone.length) notes.push(word("oneSeed", { runs: alone.map((index) => index + 1).join(", ") }));
  if (CONTENTS.split === "extrapolation") notes.push(word("extrapolationNote"));
  else if (CONTENTS.splits === "iid") notes.push(word("iid"));
  if (CONTENTS.budgets) notes.push(budgetsNote(CONTENTS.budgets, CONTENTS.runs.map((_, index) => `${word("run")} ${index + 1}`)));
  if (new Set(CONTENTS.runs.map(({ lanes }) => lanes)).size > 1) notes.push(word("lanesDiffer"));
  return notes;
}

// Lines of all runs in one picture, with a band around each where there is one.
function runsPlot(lines, width, x, y) {
  const rows = lines.flatMap((line) => line.rows);
  const markers = lines.every((line) => line.rows.length <= 20);
  return plot({
    width,
    height: Math.min(420, Math.max(260, width * 0.45)),
    marginLeft: 52,
    x: { ticks: Math.max(3, width / 110), tickFormat: tick, ...x },
    y: {
      grid: true,
      ticks: 6,
      tickFormat: tick,
      nice: true,
      domain: d3.extent(rows.flatMap((row) => [row.low ?? row.y, row.high ?? row.y]).filter((end) => end !== null)),
      ...y,
    },
    marks: [
      ...lines.map(({ look, rows: shown }) =>
        shown[0]?.low === undefined
          ? null
          : Plot.areaY(shown, { x: "x", y1: "low", y2: "high", fill: look.color, fillOpacity: 0.16 }),
      ),
      ...lines.map(({ look, rows: shown, index }) =>
        Plot.line(shown, {
          x: "x",
          y: "y",
          stroke: look.color,
          strokeWidth: look.width,
          strokeDasharray: look.dash,
          ariaDescription: `run ${index + 1}`,
        }),
      ),
      ...lines.map(({ look, rows: shown }) =>
        markers ? Plot.dot(shown, { x: "x", y: "y", fill: look.color, symbol: look.symbol, r: 4.5 }) : null,
      ),
      Plot.tip(
        lines.flatMap(({ rows: shown, index }) => shown.map((row) => ({ ...row, index }))),
        Plot.pointer({ x: "x", y: "y", title: (row) => `${row.index + 1}: ${number(row.x)}, ${number(row.y)}` }),
      ),
    ],
  });
}

function curves() {
  const lines = CONTENTS.runs.map(({ rows }, index) => ({
    index,
    look: lookOf(index),
    rows: rows.map(({ episode, mean, mean_low, mean_high }) => ({ x: episode, y: mean, low: mean_low, high: mean_high })),
  }));
  const { episodes } = CONTENTS;
  const x = episodeAxis(episodes);
  return section(
    "curves",
    element("p", { class: "note" }, word("curvesText")),
    runsLegend(),
    chart((width) => runsPlot(lines, width, x, { label: word("return") }), word("curves")),
  );
}

function improvement() {
  const rows = CONTENTS.improvement.map(({ x, y, probability, low, high }) => ({
    name: `${x + 1} > ${y + 1}`,
    value: probability,
    low,
    high,
    look: lookOf(x),
  }));
  return section(
    "improvement",
    element("p", { class: "note" }, word("improvementText")),
    runsLegend(),
    chart((width) => intervalPlot(rows, word("probability"), width, [0, 1]), word("improvement")),
  );
}

function profiles() {
  const { taus, runs } = CONTENTS.profile;
  const lines = runs.map(({ share, low, high }, index) => ({
    index,
    look: lookOf(index),
    rows: taus.map((tau, place) => ({ x: tau, y: share[place], low: low[place], high: high[place] })),
  }));
  return section(
    "profiles",
    element("p", { class: "note" }, word("profilesText")),
    runsLegend(),
    chart(
      (width) => runsPlot(lines, width, { label: word("tau") }, { label: word("share"), domain: [0, 1], nice: false }),
      word("profiles"),
    ),
  );
}

function efficiency() {
  const known = ["validation", "training"].filter((what) => CONTENTS.runs.some((run) => run[what].length));
  if (!known.length) return section("efficiency", element("p", {}, word("empty")));
  state.learnt = known.includes(state.learnt) ? state.learnt : known[0];
  const shown = () => d3.range(CONTENTS.runs.length).filter((index) => CONTENTS.runs[index][state.learnt].length);
  const lines = () =>
    shown().map((index) => ({
      index,
      look: lookOf(index),
      rows: CONTENTS.runs[index][state.learnt].map(([x, y]) => ({ x, y })),
    }));
  const picture = chart(
    (width) => runsPlot(lines(), width, { label: word("steps") }, { label: word("return") }),
    word("efficiency"),
  );
  const note = element("p", { class: "note" });
  const place = element("div");
  const says = () => {
    const older = shown().filter((index) => CONTENTS.runs[index].validation_iqm);
    const notes = [word(`${state.learnt}Text`)];
    if (state.learnt === "validation" && older.length)
      notes.push(word("olderValidation", { runs: older.map((index) => index + 1).join(", ") }));
    note.textContent = notes.join(" ");
    place.replaceChildren(runsLegend(shown()));
    picture.redraw();
  };
  const which = choice(
    word("shows"),
    [
      ["validation", word("onValidation"), !known.includes("validation")],
      ["training", word("inTraining"), !known.includes("training")],
    ],
    state.learnt,
    (what) => {
      state.learnt = what;
      says();
    },
  );
  const part = section("efficiency", element("div", { class: "controls" }, which), note, place, picture);
  says();
  return part;
}
