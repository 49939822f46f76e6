// One trial, step by step: where the agent stands, what it believes, what it could know, and what moved its decision.
const MOVED = { towards: "var(--towards)", against: "var(--against)" };

function steps() {
  const trial = () => CONTENTS.steps.trials[state.trial];
  const [first] = CONTENTS.steps.trials;
  const drawnWorld = CONTENTS.world ? chart((width) => standingPicture(width), word("world")) : null;
  const cells = ["decoded", "exact"]
    .filter((what) => first[what])
    .map((what) => [what, chart((width) => believedPicture(trial()[what][state.step], width), word(what))]);
  const timeline = chart((width) => timelinePlot(trial(), width), word(first.causes ? "causes" : "rewards"));
  timeline.addEventListener("click", (event) => choose(nearest(timeline.plot, event)));
  const beliefs = first.belief
    ? CONTENTS.steps.entries.map((entry, index) => [
        entry,
        chart((width) => beliefPlot(trial(), index, width), word("entry")),
      ])
    : [];
  const output = element("output");
  const slide = element("input", { type: "range", min: 0, step: 1, "aria-label": word("decision") });
  slide.addEventListener("input", () => choose(Number(slide.value)));

  function choose(step) {
    state.step = Math.max(0, Math.min(step, trial().moments.length - 1));
    slide.max = trial().moments.length - 1;
    slide.parentNode.hidden = trial().moments.length < 2;
    slide.value = state.step;
    output.textContent = stepText(trial());
    slide.setAttribute("aria-valuetext", output.textContent);
    for (const each of [drawnWorld, timeline, ...cells.map(([, cell]) => cell), ...beliefs.map(([, plot]) => plot)])
      each?.redraw();
  }
  const part = section(
    "trial",
    element("p", { class: "note" }, stepNotes(first).join(" ")),
    element("div", { class: "controls" }, trialSelect(() => choose(trial().opens))),
    element("div", { class: "controls", id: "step-controls" }, element("label", {}, `${word("decision")} `, slide), output),
    element(
      "div",
      { class: "scenes" },
      drawnWorld ? element("div", {}, element("h3", {}, word("here")), drawnWorld) : null,
      ...cells.map(([what, cell]) => element("div", {}, element("h3", {}, word(what)), cell)),
    ),
    first.exact ? element("p", { class: "note" }, cellNotes(first).join(" ")) : null,
    element("h3", {}, word(first.causes ? "causes" : "rewards")),
    first.causes ? element("p", { class: "note" }, word("causesText")) : null,
    first.causes
      ? legend(Object.entries(MOVED).map(([way, color]) => ({ look: { color, width: 8 }, text: word(way) })))
      : null,
    timeline,
    ...(beliefs.length ? beliefPart(beliefs) : []),
  );
  choose(state.step ?? trial().opens);
  return part;
}

function beliefPart(beliefs) {
  return [
    element("h3", {}, word("beliefs")),
    element("p", { class: "note" }, word("beliefText")),
    element(
      "div",
      { class: "small" },
      ...beliefs.map(([entry, plot]) => element("div", {}, element("h3", {}, `${word("entry")} ${entry}`), plot)),
    ),
  ];
}

function cellNotes({ decoded }) {
  return [word("exactText"), ...(decoded ? [word("decodedText")] : [])];
}

function stepNotes({ moments, lengths, opens_for: why }) {
  const steps = d3.sum(lengths);
  return [word("trialText"), word(`opens ${why}`), ...(moments.length < steps ? [word("spread", { moments: moments.length, steps })] : [])];
}

// Of the step that is looked at: its episode, and which of the episode's steps it is, both from 0.
function placeOf({ lengths, moments }) {
  const ends = d3.cumsum(lengths);
  const episode = d3.bisectRight(ends, moments[state.step]);
  return [episode, moments[state.step] - (ends[episode] - lengths[episode])];
}

function stepText(trial) {
  const [episode, step] = placeOf(trial);
  return word("decisionText", {
    step: trial.moments[state.step] + 1,
    steps: d3.sum(trial.lengths),
    episode: episode + 1,
    within: step + 1,
    reward: number(trial.rewards[state.step]),
  });
}

function standing() {
  const [episode, step] = placeOf(CONTENTS.steps.trials[state.trial]);
  const trial = CONTENTS.world.trials[state.trial];
  return [trial, episode, d3.bisectRight(trial.episodes[episode].steps, step) - 1];
}

function standingPicture(width) {
  return episodePicture(...standing(), width);
}

// What was believed of each cell at the step that is looked at.
function believedPicture(chances, width) {
  const [trial, episode, moment] = standing();
  return cellsPicture(chances, CONTENTS.steps.size, at(trial.episodes[episode], "trace", moment), trial.view, width);
}

function nearest(drawn, event) {
  const step = drawn.scale("x").invert(d3.pointer(event, drawn)[0]);
  return d3.minIndex(CONTENTS.steps.trials[state.trial].moments, (moment) => Math.abs(moment + 1 - step));
}

function timeAxis(trial, width) {
  const steps = d3.sum(trial.lengths);
  return {
    label: word("trialStep"),
    domain: [0.5, steps + 0.5],
    ticks: Math.max(3, width / 90),
    tickFormat: tick,
  };
}

function borders(trial) {
  return d3.cumsum(trial.lengths).slice(0, -1).map((end) => end + 0.5);
}

function borderMarks(trial) {
  return [
    Plot.ruleX(borders(trial), { stroke: "var(--quiet)", strokeDasharray: "3,3" }),
    Plot.ruleX([trial.moments[state.step] + 1], { stroke: "var(--ink)", strokeWidth: 1.5, ariaDescription: "now" }),
  ];
}

// How far each earlier step moved the decision at the chosen one, or, where that isn't known, what each step was paid.
function timelinePlot(trial, width) {
  const ends = [...trial.moments.slice(1), d3.sum(trial.lengths)];
  const values = trial.causes ? trial.causes[state.step] : trial.rewards;
  const bars = values.map((value, index) => ({ x1: trial.moments[index] + 0.5, x2: ends[index] + 0.5, value }));
  const most = d3.max(values, Math.abs) || 1;
  // causes have a sign, so zero stays in the middle; the names of the episodes stand above all bars
  const [low, high] = trial.causes ? [-most, most] : d3.extent([0, ...values]);
  const labels = d3.pairs([0, ...d3.cumsum(trial.lengths)], (start, end) => (start + end + 1) / 2);
  return plot({
    width,
    height: 210,
    marginLeft: 52,
    x: timeAxis(trial, width),
    y: {
      label: word(trial.causes ? "gradient" : "reward"),
      domain: [low - 0.02 * most, high + 0.15 * (high - low || most)],
      grid: true,
      ticks: 4,
      tickFormat: tick,
    },
    marks: [
      Plot.rectY(bars, {
        x1: "x1",
        x2: "x2",
        y: "value",
        inset: 0.5,
        fill: ({ value }) => (trial.causes && value < 0 ? MOVED.against : MOVED.towards),
        ariaDescription: "moved",
      }),
      Plot.ruleY([0], { stroke: "var(--quiet)" }),
      ...borderMarks(trial),
      Plot.text(labels, {
        x: (place) => place,
        frameAnchor: "top",
        dy: -2,
        fill: "var(--quiet)",
        text: (_, index) => `${word("oneEpisode")} ${index + 1}`.slice((width - 80) / labels.length < 75 ? -1 : 0),
      }),
    ],
  });
}

function beliefPlot(trial, index, width) {
  const { mean, std } = trial.belief;
  const rows = trial.moments.map((moment, place) => ({
    x: moment + 1,
    y: mean[index][place],
    low: mean[index][place] - std[index][place],
    high: mean[index][place] + std[index][place],
  }));
  const ends = CONTENTS.steps.trials.flatMap(({ belief }) =>
    belief.mean[index].flatMap((middle, place) => {
      const spread = belief.std[index][place];
      return [middle - spread, middle + spread];
    }),
  );
  return plot({
    width,
    height: 150,
    marginTop: 8,
    marginBottom: 24,
    marginLeft: 40,
    x: { ...timeAxis(trial, width), label: null },
    y: { label: null, domain: d3.extent(ends), nice: true, grid: true, ticks: 3, tickFormat: tick },
    marks: [
      Plot.areaY(rows, { x: "x", y1: "low", y2: "high", fill: "var(--belief)", fillOpacity: 0.2 }),
      Plot.line(rows, { x: "x", y: "y", stroke: "var(--belief)", strokeWidth: 2, ariaDescription: "mean" }),
      ...borderMarks(trial),
    ],
  });
}
