// Metrics over training: one of them large, those of health small.
const STEPS = "time/total_timesteps";
const SECONDS = "time/time_elapsed";
const RETURN = "rollout/ep_rew_mean";
const HEALTH = /fps|memory|grad|kl|entropy|explained|clip|loss/;

function learning() {
  const { metrics, rows, rows_per_point: thinned } = CONTENTS.series;
  if (!rows) return section("learning", element("p", {}, word("empty")));
  state.metric ??= metrics.includes(RETURN) ? RETURN : metrics[0];
  const picture = chart(
    (width) => metricPlot(state.metric, width, Math.min(380, Math.max(240, width * 0.42))),
    word("learning"),
  );
  const select = element(
    "select",
    {
      onchange: () => {
        state.metric = select.value;
        picture.redraw();
      },
    },
    ...metrics.map((name) => element("option", { value: name, selected: name === state.metric ? "" : null }, name)),
  );
  const timed = CONTENTS.series.seeds.some((line) => line[SECONDS]);
  const over = choice(
    word("over"),
    [
      ["steps", word("steps")],
      ["wall", word("wall"), !timed],
    ],
    state.axis,
    (axis) => {
      state.axis = axis;
      for (const each of document.querySelectorAll("#learning .chart, #health .chart")) each.redraw();
      document.getElementById("health-note").textContent = word("healthText", { axis: word(axis) });
    },
  );
  const { seeds } = CONTENTS;
  return section(
    "learning",
    element(
      "p",
      { class: "note" },
      [word("learningText"), ...(thinned > 1 ? [word("thinned", { rows: thinned.toLocaleString("en") })] : [])].join(
        " ",
      ),
    ),
    ...(CONTENTS.falls ?? []).map((fall) => element("p", { class: "note" }, word("fell", fall))),
    element("div", { class: "controls" }, element("label", {}, `${word("metric")} `, select), over),
    legend(
      seeds.length > 1
        ? [
            { look: { ...LOOKS.learner, symbol: null }, text: word("iqm") },
            {
              look: { ...LOOKS.learner, width: 1.5, symbol: null },
              faint: true,
              text: word("seeds", { seeds: seeds.join(", ") }),
            },
          ]
        : [{ look: { ...LOOKS.learner, symbol: null }, text: word("seed", { seed: seeds[0] }) }],
    ),
    picture,
  );
}

function health() {
  const { metrics, rows } = CONTENTS.series;
  if (!rows) return null;
  const small = (names) =>
    element(
      "div",
      { class: "small" },
      ...names.map((name) =>
        element(
          "div",
          {},
          element("h3", {}, name),
          chart((width) => metricPlot(name, width, 130, true), name),
        ),
      ),
    );
  const sound = metrics.filter((name) => HEALTH.test(name));
  const others = metrics.filter((name) => !HEALTH.test(name) && name !== RETURN);
  return section(
    "health",
    element("p", { class: "note", id: "health-note" }, word("healthText", { axis: word(state.axis) })),
    small(sound),
    others.length ? details(word("others"), small(others)) : null,
  );
}

// The points of one seed, or of the seeds' middle: gaps stay gaps.
function points(line, metric, axis) {
  const xs = line[axis] ?? [];
  const ys = line[metric] ?? [];
  return xs.map((x, index) => ({ x, y: ys[index] ?? null })).filter(({ x }) => x !== null);
}

function timeUnit(seconds) {
  return seconds < 300 ? ["seconds", 1] : seconds < 4 * 3600 ? ["minutes", 60] : ["hours", 3600];
}

function metricPlot(metric, width, height, small = false) {
  const { seeds, iqm } = CONTENTS.series;
  const axis = state.axis === "wall" ? SECONDS : STEPS;
  const longest = d3.max(seeds.flatMap((line) => line[axis] ?? [])) ?? 1;
  const [unit, scale] = state.axis === "wall" ? timeUnit(longest) : ["steps", 1];
  const scaled = (line) => points(line, metric, axis).map(({ x, y }) => ({ x: x / scale, y }));
  const faint = iqm ? seeds.map(scaled) : [];
  const bold = scaled(iqm ?? seeds[0]);
  const color = LOOKS.learner.color;
  return plot({
    width,
    height,
    marginLeft: 52,
    marginTop: small ? 8 : 28,
    marginBottom: small ? 24 : 50,
    x: {
      label: small ? null : word(unit),
      domain: [0, longest / scale],
      ticks: Math.max(2, width / 110),
      tickFormat: tick,
    },
    y: {
      label: small ? null : metric,
      grid: true,
      ticks: small ? 3 : 6,
      tickFormat: tick,
      nice: true,
    },
    marks: [
      ...faint.map((line) => Plot.line(line, { x: "x", y: "y", stroke: color, strokeWidth: 1.2, strokeOpacity: 0.35 })),
      Plot.line(bold, { x: "x", y: "y", stroke: color, strokeWidth: small ? 1.6 : 2.5, ariaDescription: "bold" }),
      small
        ? null
        : Plot.tip(
            bold,
            Plot.pointerX({
              x: "x",
              y: "y",
              title: ({ x, y }) => `${word(unit)} ${number(x)}\n${metric} ${number(y)}`,
            }),
          ),
    ],
  });
}
