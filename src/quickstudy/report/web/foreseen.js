// What a model foresaw: the error of its next step, and predictions beside what came.
const FORESEEN = {
  lived: { color: "var(--ink)", width: 1.5 },
  foretold: { color: "var(--beyond)", width: 2, symbol: "circle" },
  change: { color: "var(--quiet)", width: 1.5, dash: "5,4" },
};

function foreseen() {
  const found = CONTENTS.foreseen;
  if (!found) return null;
  const { around, errors } = found;
  const trial = () => found.trials[state.trial];
  const episode = () => trial().episodes[state.foreseen];
  const called = (feature) => found.names[feature] ?? `${word("feature")} ${feature + 1}`;
  const pictures = [
    chart((width) => foreseenErrorPlot(trial(), episode(), width), word("errorAlt")),
    ...d3.range(episode().lived.features.length).map((feature) =>
      chart((width) => foreseenPlot(trial(), episode(), feature, width), word("foreseenAlt", { feature: called(feature) })),
    ),
  ];
  const heads = [word("errorOne"), ...pictures.slice(1).map((_, feature) => called(feature))];
  const redraw = () => {
    for (const each of pictures) each.redraw();
  };
  const looks = errors.map((_, index) => ({ look: foreseenLook(index, errors.length), text: `${word("oneEpisode")} ${index + 1}` }));
  return section(
    "foreseen",
    ...(around ? [element("p", {}, foreseenHeadline(found.story))] : []),
    element("p", { class: "note" }, foreseenNotes(found).join(" ")),
    legend(around ? [...looks, { look: FORESEEN.change, text: word("is change") }] : looks),
    element(
      "div",
      { class: "beside" },
      ...[
        ["errors", errors, "episodeStep", 1],
        ["around", around, "fromChange", 0],
      ]
        .filter(([, bands]) => bands)
        .map(([name, bands, axis, first]) =>
          element(
            "div",
            {},
            element("h3", {}, word(name)),
            chart((width) => bandsPlot(bands, word(axis), first, name === "around" ? [-0.5] : [], width), word(`${name}Alt`)),
          ),
        ),
    ),
    element("h3", {}, word("foreseenTrial")),
    element("p", { class: "note" }, foreseenTrialNotes(found).join(" ")),
    element("div", { class: "controls" }, trialSelect(redraw), foreseenSelect(errors.length, redraw)),
    legend(
      Object.entries(FORESEEN)
        .filter(([name]) => name !== "change" || around)
        .map(([name, look]) => ({ look, text: word(`is ${name}`) })),
    ),
    element(
      "div",
      { class: "beside" },
      ...pictures.map((picture, index) => element("div", {}, element("h3", {}, heads[index]), picture)),
    ),
  );
}

function foreseenHeadline({ before, at, later, from, to }) {
  return word("story", { before: number(before), at: number(at), later: number(later), from, to });
}

function foreseenNotes({ around, features, tasks }) {
  return [word(around ? "foreseenText" : "foreseenStill"), word("errorUnit", { features }), word("bands", { tasks })];
}

function foreseenTrialNotes({ ahead, features, trials }) {
  const drawn = trials[0].episodes[0].lived.features.length;
  const more = features > drawn ? [word("moreFeatures", { drawn, features })] : [];
  return [word("foreseenTrialText", { ahead }), ...more];
}

function foreseenSelect(count, redraw) {
  const select = element(
    "select",
    {
      onchange: () => {
        state.foreseen = Number(select.value);
        redraw();
      },
    },
    ...d3
      .range(count)
      .map((index) => element("option", { value: index, selected: index === state.foreseen ? "" : null }, `${index + 1}`)),
  );
  return element("label", {}, `${word("oneEpisode")} `, select);
}

// Narrower than paths are: errors go up and down with every step.
function foreseenLook(index, count) {
  const { color, width } = episodeLook(index, count);
  return { color, width: width / 2 + 0.25 };
}

// Medians and quartiles over tasks, a line an episode; dashed where the world changes.
function bandsPlot(bands, label, first, changes, width) {
  const rows = bands.map(({ steps, low, middle, high }) =>
    steps.map((step, place) => ({ x: step + first, low: low[place], y: middle[place], high: high[place] })),
  );
  return foreseenAxes(width, label, word("error"), d3.extent(rows.flat(), ({ x }) => x), [
    0,
    d3.max(rows.flat(), ({ high }) => high) || 1,
  ], [
    ...rows.map((line, index) =>
      Plot.areaY(line, { x: "x", y1: "low", y2: "high", fill: foreseenLook(index, bands.length).color, fillOpacity: 0.14 }),
    ),
    ...rows.map((line, index) => {
      const { color, width: strokeWidth } = foreseenLook(index, bands.length);
      return Plot.line(line, { x: "x", y: "y", stroke: color, strokeWidth, ariaDescription: `middle ${index}` });
    }),
    ...changeMarks(changes),
  ]);
}

function changeMarks(places) {
  const { color, dash, width } = FORESEEN.change;
  return [Plot.ruleX(places, { stroke: color, strokeDasharray: dash, strokeWidth: width, ariaDescription: "change" })];
}

function foreseenAxes(width, across, up, domain, range, marks) {
  return plot({
    width,
    height: 260,
    marginLeft: 52,
    marginTop: up ? 28 : 8,
    x: { label: across, domain, ticks: Math.max(3, width / 90), tickFormat: tick },
    y: { label: up, domain: range, nice: true, grid: true, ticks: 5, tickFormat: tick },
    marks,
  });
}

function foreseenErrorPlot({ change, episodes }, { errors, length }, width) {
  const most = d3.max(episodes, (each) => d3.max(each.errors.middle)) || 1;
  const rows = errors.steps.map((step, place) => ({ x: step + 1, y: errors.middle[place] }));
  return foreseenAxes(width, word("episodeStep"), null, [0, length], [0, most], [
    Plot.line(rows, { x: "x", y: "y", stroke: FORESEEN.lived.color, strokeWidth: FORESEEN.lived.width, ariaDescription: "error" }),
    ...changeMarks(change !== null && change < length ? [change + 0.5] : []),
  ]);
}

// One feature of an episode as it was lived, and from every dot on as the model foretold it; y tells what was lived.
function foreseenPlot({ change }, { length, lived, foreseen: told }, feature, width) {
  const rows = (path) => path.steps.map((step, place) => ({ x: step, y: path.features[feature][place] }));
  const segments = told.flatMap((path, key) => rows(path).map((row) => ({ ...row, key })));
  const [low, high] = d3.extent(lived.features[feature]);
  const room = 0.15 * (high - low) || 1;
  return foreseenAxes(width, word("stepsPassed"), null, [0, length], [low - room, high + room], [
    Plot.line(rows(lived), { x: "x", y: "y", stroke: FORESEEN.lived.color, strokeWidth: FORESEEN.lived.width, ariaDescription: "lived" }),
    Plot.line(segments, {
      x: "x",
      y: "y",
      z: "key",
      stroke: FORESEEN.foretold.color,
      strokeWidth: 2,
      clip: true,
      ariaDescription: "foretold",
    }),
    Plot.dot(told.map((path) => rows(path)[0]), { x: "x", y: "y", fill: FORESEEN.foretold.color, r: 3, ariaDescription: "starts" }),
    ...changeMarks(change !== null && change < length ? [change] : []),
  ]);
}
