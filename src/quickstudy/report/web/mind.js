// What is known of the tasks at the end of their trials, and what gradient steps do.
function mind() {
  const { embedding: found, inner } = CONTENTS;
  if (!found) return null;
  const names = found.axes.length ? found.axes : [null];
  return section(
    "mind",
    element(
      "p",
      { class: "note" },
      `${word(found.kind, { tasks: found.tasks.length, size: found.size.toLocaleString("en") })} ${word("principal")}`,
    ),
    element(
      "div",
      { class: "beside" },
      ...names.map((name, axis) =>
        element(
          "div",
          {},
          chart((width) => embeddingPlot(found, axis, width), word("mind")),
          name === null ? null : element("div", { class: "ramp" }, ...embeddingRamp(found, axis)),
        ),
      ),
      inner ? agreePart(inner) : null,
      inner ? lossesPart(inner) : null,
    ),
  );
}

function embeddingColors({ tasks }, axis) {
  return { type: "linear", scheme: "viridis", domain: d3.extent(tasks, ({ at }) => at[axis]) };
}

function embeddingPlot(found, axis, width) {
  const size = Math.min(width, 460);
  const label = (index) => word("component", { index: index + 1, share: Math.round(100 * found.shares[index]) });
  const span = d3.max(found.tasks, ({ place }) => d3.max(place, Math.abs)) || 1;
  const domain = [-1.1 * span, 1.1 * span];
  return plot({
    width: size,
    height: size,
    marginLeft: 52,
    x: { label: label(0), domain, ticks: 5, tickFormat: tick, grid: true },
    y: { label: label(1), domain, ticks: 5, tickFormat: tick, grid: true },
    color: embeddingColors(found, axis),
    marks: [
      Plot.dot(found.tasks, {
        x: ({ place }) => place[0],
        y: ({ place }) => place[1],
        fill: found.axes.length ? ({ at }) => at[axis] : "var(--learner)",
        stroke: "var(--ink)",
        strokeWidth: 0.5,
        r: 5,
        ariaDescription: "embedding",
      }),
      Plot.tip(
        found.tasks,
        Plot.pointer({
          x: ({ place }) => place[0],
          y: ({ place }) => place[1],
          title: ({ at }) => found.axes.map((name, index) => `${name} = ${plainNumber(at[index])}`).join("\n"),
        }),
      ),
    ],
  });
}

function embeddingRamp(found, axis) {
  const { domain } = embeddingColors(found, axis);
  return [
    element("span", {}, number(domain[0])),
    rampBar(d3.interpolateViridis),
    element("span", {}, `${number(domain[1])}  ${found.axes[axis]}`),
  ];
}

// Each dot a pair of tasks; the line is the mean of a tenth of the pairs each, from the nearest to the farthest.
function agreePart({ pairs: found }) {
  const sorted = d3.sort(found, ([apart]) => apart);
  const tenth = Math.ceil(sorted.length / 10);
  const means = d3
    .range(0, sorted.length, tenth)
    .map((start) => [0, 1].map((axis) => d3.mean(sorted.slice(start, start + tenth), (pair) => pair[axis])));
  return element(
    "div",
    {},
    element("h3", {}, word("agree")),
    element("p", { class: "note" }, word("agreeText")),
    chart(
      (width) =>
        plot({
          width,
          height: 300,
          marginLeft: 52,
          x: {
            label: word("apart"),
            domain: [0, d3.max(found, ([apart]) => apart)],
            nice: true,
            ticks: 5,
            tickFormat: tick,
          },
          y: { label: word("cosine"), domain: [-1, 1], grid: true, ticks: 5, tickFormat: tick },
          marks: [
            Plot.dot(found, { x: "0", y: "1", fill: "var(--learner)", fillOpacity: 0.3, r: 2.5, ariaDescription: "pairs" }),
            Plot.ruleY([0], { stroke: "var(--quiet)" }),
            Plot.line(means, { x: "0", y: "1", stroke: "var(--beyond)", strokeWidth: 2.5 }),
          ],
        }),
      word("agree"),
    ),
  );
}

function lossesPart({ losses }) {
  const ends = losses.flatMap((pair, step) =>
    d3.zip(...pair).flatMap((values, task) =>
      values.map((loss, after) => ({ key: `${step} ${task}`, x: step + 1 + (after ? 0.3 : -0.3), loss })),
    ),
  );
  const middles = losses.flatMap((pair, step) =>
    pair.map((values, after) => ({ key: step, x: step + 1 + (after ? 0.3 : -0.3), loss: d3.median(values) })),
  );
  // unclipped ratios run away on single tasks, and one line would flatten all others
  const sorted = d3.sort(ends, ({ loss }) => loss).map(({ loss }) => loss);
  const domain = [d3.quantileSorted(sorted, 0.02), d3.quantileSorted(sorted, 0.98)];
  return element(
    "div",
    {},
    element("h3", {}, word("losses")),
    element("p", { class: "note" }, word("lossesText")),
    chart(
      (width) =>
        plot({
          width,
          height: 300,
          marginLeft: 52,
          x: {
            label: word("innerStep"),
            domain: [0.5, losses.length + 0.5],
            ticks: d3.range(1, losses.length + 1),
            tickFormat: "d",
          },
          y: { label: word("innerLoss"), domain, nice: true, grid: true, ticks: 5, tickFormat: tick },
          marks: [
            Plot.line(ends, { x: "x", y: "loss", z: "key", stroke: "var(--learner)", strokeOpacity: 0.3, clip: true }),
            Plot.line(middles, { x: "x", y: "loss", z: "key", stroke: "var(--beyond)", strokeWidth: 3 }),
            Plot.dot(middles, { x: "x", y: "loss", fill: "var(--beyond)", r: 4, ariaDescription: "middles" }),
          ],
        }),
      word("losses"),
    ),
  );
}
