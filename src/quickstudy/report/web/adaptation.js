// Return by episode on held-out tasks, and on validation tasks as training went on.
function adaptation() {
  const found = CONTENTS.adaptation;
  const name = { learner: word("learner", { algorithm: found.algorithm }) };
  const called = (who) => name[who] ?? word(who);
  const stops = found.validation;
  state.stop = Math.min(state.stop ?? Infinity, stops.length - 1);
  const picture = chart((width) => adaptationPlot(found, stops[state.stop], width), word("adaptation"));
  const shown = stops.length
    ? [...found.curves.map(({ who }) => who), "validation"]
    : found.curves.map(({ who }) => who);
  return section(
    "adaptation",
    element("p", {}, adaptationHeadline(found)),
    element("p", { class: "note" }, adaptationNotes(found).join(" ")),
    legend(shown.map((who) => ({ look: LOOKS[who], text: called(who) }))),
    picture,
    stops.length ? slider(stops, picture) : element("p", { class: "note" }, word("noValidation")),
    details(
      word("numbers"),
      ...found.curves.map((curve) => element("div", {}, element("h3", {}, called(curve.who)), adaptationTable(curve))),
    ),
  );
}

function adaptationHeadline({ curves, gain }) {
  const rows = curves[0].rows;
  const values = { first: number(rows[0].mean), last: number(rows.at(-1).mean) };
  if (!gain) return word("one", values);
  const by = `${gain.mean > 0 ? "+" : ""}${number(gain.mean)} ${ends(gain.mean_low, gain.mean_high)}`.trimEnd();
  return word({ up: "rises", down: "falls", "not seen": "unseen" }[gain.says] ?? "goes", { ...values, by });
}

function adaptationNotes(found) {
  const notes = [
    word("adaptationText", {
      tasks: found.tasks,
      split: found.split,
      actions: word(found.greedy ? "greedy" : "sampled"),
    }),
  ];
  if (CONTENTS.seeds.length > 1) notes.push(word("pooled", { seeds: CONTENTS.seeds.length }));
  for (const [over, curves] of d3.group(found.curves, ({ interval_over }) => interval_over))
    if (over)
      notes.push(
        word("intervals", {
          over: word(over),
          who: curves.map(({ who }) => word(who, { algorithm: found.algorithm })).join("; "),
        }),
      );
  if (found.split === "extrapolation") notes.push(word("extrapolationNote"));
  else if (found.splits === "iid") notes.push(word("iid"));
  if (found.lanes > 1) notes.push(word("lanes", { lanes: found.lanes }));
  if (found.curves[0].rows.length > found.trained_episodes)
    notes.push(word("longer", { episodes: found.trained_episodes }));
  if (!found.adapts) notes.push(word("same"));
  if (found.budgets) notes.push(budgetsNote(found.budgets, [found.algorithm, word("informed")]));
  return notes;
}

function adaptationPlot(found, stop, width) {
  const episodes = found.curves[0].rows.length;
  const heights = found.curves.flatMap(({ rows }) => rows.flatMap((row) => [row.mean, row.mean_low, row.mean_high]));
  const ever = found.validation.flatMap(({ returns }) => returns).filter((value) => value !== null);
  const curves = [...found.curves];
  if (stop) curves.push({ who: "validation", rows: stop.returns.map((mean, index) => ({ episode: index + 1, mean })) });
  return plot({
    width,
    height: Math.min(420, Math.max(260, width * 0.5)),
    marginLeft: 52,
    x: episodeAxis(episodes, Math.max(episodes, ...found.validation.map(({ returns }) => returns.length))),
    y: {
      label: word("return"),
      domain: d3.extent([...heights, ...ever]),
      nice: true,
      grid: true,
      ticks: 6,
      tickFormat: tick,
    },
    marks: [
      ...curves
        // of those who know the best answer the line says enough
        .filter(({ who }) => !["validation", "bayes-optimal", "optimal"].includes(who))
        .map(({ who, rows }) =>
          episodes > 1
            ? Plot.areaY(rows, { x: "episode", y1: "mean_low", y2: "mean_high", fill: LOOKS[who].color, fillOpacity: 0.16 })
            : Plot.ruleX(rows, {
                x: "episode",
                y1: "mean_low",
                y2: "mean_high",
                stroke: LOOKS[who].color,
                strokeWidth: 6,
                strokeOpacity: 0.3,
              }),
        ),
      ...curves.map(({ who, rows }) =>
        Plot.line(rows, {
          x: "episode",
          y: "mean",
          stroke: LOOKS[who].color,
          strokeWidth: LOOKS[who].width,
          strokeDasharray: LOOKS[who].dash,
        }),
      ),
      ...curves.map(({ who, rows }) =>
        Plot.dot(rows, {
          x: "episode",
          y: "mean",
          fill: LOOKS[who].color,
          symbol: LOOKS[who].symbol,
          r: 4.5,
          ariaDescription: who,
        }),
      ),
      Plot.tip(
        curves.flatMap(({ who, rows }) => rows.map((row) => ({ ...row, who }))),
        Plot.pointer({ x: "episode", y: "mean", title: adaptationTip }),
      ),
    ],
  });
}

function adaptationTip({ who, episode, mean, mean_low, mean_high }) {
  const interval = ` ${ends(mean_low, mean_high)}`.trimEnd();
  return `${word(who, { algorithm: CONTENTS.adaptation.algorithm })}\n${word("episode")} ${episode}: ${number(mean)}${interval}`;
}

function slider(stops, picture) {
  const says = () =>
    word(stops[state.stop].statistic === "iqm" ? "olderStop" : "stop", {
      iteration: stops[state.stop].iteration.toLocaleString("en"),
      steps: number(stops[state.stop].steps),
    });
  // of one stop there is nothing to choose
  if (stops.length < 2) return element("p", { class: "note" }, word("onlyStop", { stop: says() }));
  const output = element("output", {}, says());
  const input = element("input", {
    type: "range",
    min: 0,
    max: stops.length - 1,
    step: 1,
    value: state.stop,
    "aria-valuetext": says(),
    oninput: () => {
      state.stop = Number(input.value);
      output.textContent = says();
      input.setAttribute("aria-valuetext", says());
      picture.redraw();
    },
  });
  return element("div", { class: "controls" }, element("label", {}, `${word("slider")} `, input), output);
}

// Figures of the tasks' field are called what the tasks call them. The interquartile mean is over seeds, so that one seed has none of its own.
function adaptationTable({ rows, interval_over: over }) {
  const seeds = over?.startsWith("seeds");
  const success = rows[0].success !== undefined;
  const heads = [word("episode"), word("mean"), intervalHead(over)];
  if (seeds) heads.push(word("iqm"));
  if (success) heads.push(word("success"), word("interval"));
  const figures = Object.keys(rows[0].figures ?? {});
  for (const name of figures) heads.push(name, word("interval"));
  return table(
    heads,
    rows.map((row) => [
      String(row.episode),
      number(row.mean),
      ends(row.mean_low, row.mean_high),
      ...(seeds ? [number(row.iqm)] : []),
      ...(success ? [number(row.success), ends(row.success_low, row.success_high)] : []),
      ...figures.flatMap((name) => {
        const found = row.figures[name];
        return [number(found.mean), ends(found.mean_low, found.mean_high)];
      }),
    ]),
  );
}
