// How well the agent does on each task, over the parameters of the tasks; one of them is looked at more closely.
const MEASURES = {
  last: ({ returns }) => returns.at(-1),
  first: ({ returns }) => returns[0],
  gain: ({ returns }) => returns.at(-1) - returns[0],
};

function taskmap() {
  const { axes, plane, tasks, left_out: hidden } = CONTENTS.map;
  if (!axes.length) return null;
  const pairs = d3.cross(d3.range(axes.length), d3.range(axes.length)).filter(([x, y]) => x < y);
  const draw =
    { 0: () => [lineMap], 1: () => [planeMap(...plane)] }[pairs.length] ?? (() => pairs.map(([x, y]) => planeMap(x, y)));
  const maps = draw().map((drawMap) => chart((width) => clickable(drawMap(width)), word("taskmap")));
  const ramp = element("div", { class: "ramp" });
  const episodes = chart((width) => episodesPlot(tasks[state.task], width), word("episode"));
  const about = element("h3");
  const select = element(
    "select",
    { onchange: () => choose(Number(select.value)) },
    ...tasks.map((task, index) => element("option", { value: index }, `${index + 1}: ${place(task)}`)),
  );

  function redraw() {
    for (const each of maps) each.redraw();
    ramp.replaceChildren(...(axes.length > 1 ? rampOf() : []));
  }
  function choose(index) {
    state.task = index;
    select.value = index;
    about.textContent = aboutTask(tasks[index]);
    for (const each of [...maps, episodes]) each.redraw();
  }
  function clickable(drawn) {
    drawn.addEventListener("click", (event) =>
      choose(d3.minIndex(tasks, (task) => distance(drawn, task, d3.pointer(event, drawn)))),
    );
    return drawn;
  }

  state.task = Math.min(state.task, tasks.length - 1);
  const measure = choice(
    word("shows"),
    Object.keys(MEASURES).map((name) => [name, word(name)]),
    state.measure,
    (name) => {
      state.measure = name;
      redraw();
    },
  );
  const found = section(
    "taskmap",
    element("p", { class: "note" }, taskNotes(axes, tasks, hidden).join(" ")),
    element("div", { class: "controls" }, measure),
    legend(
      splitsOf(tasks).map((split) => ({
        look: { ...SPLITS[split], width: 0, ...(axes.length > 1 ? { color: "var(--quiet)" } : {}) },
        text: word("split", { split }),
      })),
    ),
    element(
      "div",
      { class: "beside" },
      element("div", {}, element("div", { class: maps.length > 1 ? "small" : "" }, ...maps), ramp),
      element(
        "div",
        {},
        element("div", { class: "controls" }, element("label", {}, `${word("task")} `, select)),
        about,
        episodes,
      ),
    ),
  );
  ramp.replaceChildren(...(axes.length > 1 ? rampOf() : []));
  choose(state.task);
  return found;
}

const SPLITS = {
  train: { color: "var(--learner)", symbol: "circle" },
  validation: { color: "var(--learner)", symbol: "circle" },
  test: { color: "var(--learner)", symbol: "circle" },
  extrapolation: { color: "var(--beyond)", symbol: "triangle" },
};

function splitsOf(tasks) {
  return [...new Set(tasks.map(({ split }) => split))];
}

function taskNotes(axes, tasks, hidden) {
  const notes = [word(axes.length > 1 ? "planeText" : "lineText")];
  if (axes.some(({ bounds }) => bounds)) notes.push(word("region"));
  if (tasks.some(({ met }) => met > 1)) notes.push(word("met"));
  if (hidden) notes.push(word("hidden", { shown: axes.length, hidden }));
  return notes;
}

function place({ at }) {
  return at.map((value, index) => worded(CONTENTS.map.axes[index].words, value)).join(", ");
}

function aboutTask({ split, at, met }) {
  const values = CONTENTS.map.axes.map(
    ({ name, words }, index) => `${name} = ${worded(words, at[index])}`,
  );
  return [...values, word("split", { split }), ...(met > 1 ? [word("times", { met })] : [])].join(" · ");
}

// The axes of the map in a picture's own scales: of a pair grid each picture has its own two.
function distance(drawn, { at }, [x, y]) {
  const [dx, dy] = drawn.dataset.axes.split(" ").map(Number);
  const across = drawn.scale("x").apply(at[dx]) - x;
  const value = dy < 0 ? MEASURES[state.measure](CONTENTS.map.tasks.find((task) => task.at === at)) : at[dy];
  return Math.hypot(across, drawn.scale("y").apply(value) - y);
}

function lineMap(width) {
  const {
    axes: [axis],
    tasks,
  } = CONTENTS.map;
  const value = MEASURES[state.measure];
  const looks = splitsOf(tasks).map((split) => [SPLITS[split], tasks.filter((task) => task.split === split)]);
  const drawn = plot({
    width,
    height: Math.max(240, Math.min(360, width * 0.6)),
    marginLeft: 52,
    x: {
      label: axis.name,
      tickFormat: wordedTick(axis.words),
      ticks: Math.max(3, width / 90),
    },
    y: { label: word(state.measure), grid: true, ticks: 6, tickFormat: tick, nice: true },
    marks: [
      axis.bounds && Plot.rect([axis.bounds], { x1: "0", x2: "1", fill: "var(--rule)", fillOpacity: 0.4 }),
      ...looks.map(([look, shown]) =>
        Plot.dot(shown, {
          x: ({ at }) => at[0],
          y: value,
          fill: look.color,
          symbol: look.symbol,
          r: 4,
          fillOpacity: 0.75,
          ariaDescription: shown[0].split,
        }),
      ),
      Plot.dot([tasks[state.task]], { x: ({ at }) => at[0], y: value, stroke: "var(--ink)", strokeWidth: 2.5, r: 9 }),
    ],
  });
  drawn.dataset.axes = "0 -1";
  return drawn;
}

function colors() {
  const values = CONTENTS.map.tasks.map(MEASURES[state.measure]);
  if (state.measure !== "gain") return { type: "linear", scheme: "viridis", domain: d3.extent(values) };
  const most = d3.max(values, Math.abs) || 1;
  return { type: "linear", scheme: "PuOr", domain: [-most, most] };
}

function planeMap(x, y) {
  return (width) => {
    const { axes, tasks } = CONTENTS.map;
    const size = Math.min(width, 520);
    const cell = cellOf(tasks, x, y);
    const fill = MEASURES[state.measure];
    const look = { fill, stroke: "var(--ink)", strokeWidth: 0.5 };
    const chosen = tasks[state.task];
    const region = axes[x].bounds &&
      axes[y].bounds && {
        x1: axes[x].bounds[0] - cell / 2,
        x2: axes[x].bounds[1] + cell / 2,
        y1: axes[y].bounds[0] - cell / 2,
        y2: axes[y].bounds[1] + cell / 2,
      };
    const box = ({ at }) => ({
      x1: at[x] - cell / 2,
      x2: at[x] + cell / 2,
      y1: at[y] - cell / 2,
      y2: at[y] + cell / 2,
    });
    const edges = { x1: "x1", x2: "x2", y1: "y1", y2: "y2" };
    const drawn = plot({
      width: size,
      height: size,
      marginLeft: 52,
      marginRight: 16,
      marginTop: 28,
      x: { label: axes[x].name, tickFormat: wordedTick(axes[x].words), ticks: 5 },
      y: { label: axes[y].name, tickFormat: wordedTick(axes[y].words), ticks: 5 },
      color: colors(),
      marks: [
        region && Plot.rect([region], { ...edges, fill: "none", stroke: "var(--quiet)", strokeDasharray: "4,3" }),
        ...(cell
          ? [
              Plot.rect(
                tasks.map((task) => ({ ...box(task), value: fill(task) })),
                { ...edges, fill: "value", inset: 1, ariaDescription: "cells" },
              ),
            ]
          : splitsOf(tasks).map((split) =>
              Plot.dot(
                tasks.filter((task) => task.split === split),
                {
                  ...look,
                  x: ({ at }) => at[x],
                  y: ({ at }) => at[y],
                  symbol: SPLITS[split].symbol,
                  r: 5,
                  ariaDescription: split,
                },
              ),
            )),
        Plot.dot([chosen], {
          x: ({ at }) => at[x],
          y: ({ at }) => at[y],
          stroke: "var(--card)",
          strokeWidth: 5,
          r: 10,
        }),
        Plot.dot([chosen], {
          x: ({ at }) => at[x],
          y: ({ at }) => at[y],
          stroke: "var(--ink)",
          strokeWidth: 2.5,
          r: 10,
        }),
      ],
    });
    drawn.dataset.axes = `${x} ${y}`;
    return drawn;
  };
}

// The side of the cells where tasks lie on a coarse grid, else 0.
function cellOf(tasks, x, y) {
  const sides = [x, y].map((axis) => d3.sort(new Set(tasks.map(({ at }) => at[axis]))));
  if (sides.some((values) => values.length < 2 || values.length > 20)) return 0;
  const steps = sides.flatMap((values) => d3.pairs(values, (low, high) => high - low));
  return d3.max(steps) < 2.5 * d3.min(steps) ? d3.min(steps) : 0;
}

function rampOf() {
  const { scheme, domain } = colors();
  const interpolate = { viridis: d3.interpolateViridis, PuOr: d3.interpolatePuOr }[scheme];
  return [
    element("span", {}, number(domain[0])),
    rampBar(interpolate),
    element("span", {}, `${number(domain[1])}  ${word(state.measure)}`),
  ];
}

function episodesPlot({ returns }, width) {
  const rows = returns.map((value, index) => ({ episode: index + 1, value }));
  const everywhere = d3.extent(CONTENTS.map.tasks.flatMap((task) => task.returns));
  return plot({
    width,
    height: Math.max(220, Math.min(300, width * 0.6)),
    marginLeft: 52,
    x: episodeAxis(rows.length),
    y: {
      label: word("return"),
      domain: everywhere,
      grid: true,
      ticks: 5,
      tickFormat: tick,
      nice: true,
    },
    marks: [
      Plot.line(rows, { x: "episode", y: "value", stroke: "var(--learner)", strokeWidth: 2.5 }),
      Plot.dot(rows, { x: "episode", y: "value", fill: "var(--learner)", r: 4.5, ariaDescription: "episodes" }),
    ],
  });
}
