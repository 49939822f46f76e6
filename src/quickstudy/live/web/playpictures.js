// The pictures of a trial, as of the moment that `trial` in play.js is at.

// What shows all of the episodes up to the one that is played.
function viewed() {
  const views = trial.episodes.slice(0, Math.max(trial.episode + 1, trial.played)).map(({ view }) => view);
  return [0, 1, 2, 3].map((side) => (side < 2 ? d3.min : d3.max)(views, (view) => view[side]));
}

function worldPicture(width) {
  const at = trial.episodes[trial.episode];
  if (!at) return element("p", { class: "note" }, word("living", { episode: 1, episodes: CONTENTS.episodes }));
  const svg = paper(viewed(), width);
  const pixel = (viewed()[2] - viewed()[0]) / Number(svg.attr("width"));
  drawShapes(svg.append("g"), at.ground[trial.moment]);
  trial.episodes.slice(0, trial.episode + 1).forEach(({ trace }, index) => {
    if (!trace) return;
    const { color, width: thick } = episodeLook(index, CONTENTS.episodes);
    const now = index === trial.episode;
    line(svg, pairs((now ? trace.slice(0, trial.moment + 1) : trace).flat()), (now ? 3 : thick) * pixel, color)
      .attr("class", "path")
      .attr("stroke-opacity", now ? 1 : 0.45);
  });
  drawShapes(svg.append("g").attr("class", "figures"), at.figures[trial.moment]);
  return svg.node();
}

function beliefPicture(name, width) {
  const at = trial.episodes[trial.episode];
  if (!at?.belief) return element("p");
  return cellsPicture(at.belief[name][trial.moment], at.belief.size, at.trace[trial.moment], viewed(), width);
}

function returnsPlot(width) {
  const rows = trial.episodes.slice(0, trial.played).map(({ total }, index) => ({ episode: index + 1, total }));
  const past = rows.slice(0, trial.episode + 1);
  const color = LOOKS.learner.color;
  const count = CONTENTS.episodes;
  return plot({
    width,
    height: 240,
    marginLeft: 52,
    x: episodeAxis(count),
    y: {
      label: word("return"),
      domain: rows.length > 1 ? d3.extent(rows, ({ total }) => total) : undefined,
      grid: true,
      nice: true,
      ticks: 5,
      tickFormat: tick,
    },
    marks: [
      Plot.line(past, { x: "episode", y: "total", stroke: color, strokeWidth: 2.5 }),
      Plot.dot(rows, { x: "episode", y: "total", stroke: color, strokeWidth: 1.5, r: 4.5, ariaDescription: "returns" }),
      Plot.dot(past, { x: "episode", y: "total", fill: color, r: 4.5 }),
    ],
  });
}

function whole({ moments, totals }) {
  return moments.map((step, place) => ({ step, total: totals[place] }));
}

// How the return of each episode came together, up to the moment.
function totalsPlot(width) {
  const seen = trial.episodes.slice(0, trial.episode + 1);
  const { played } = trial;
  const lines = seen.map((episode, index) => whole(episode).slice(0, index === trial.episode ? trial.moment + 1 : undefined));
  // the axes reach as far as what has been played
  const far = [...trial.episodes.slice(0, played).flatMap(whole), ...lines.at(-1) ?? []];
  return plot({
    width,
    height: 240,
    marginLeft: 52,
    x: {
      label: word("stepOf"),
      domain: [0, Math.max(10, d3.max(far, ({ step }) => step) ?? 0)],
      ticks: Math.max(2, width / 90),
    },
    y: {
      label: word("return"),
      domain: far.length ? d3.extent([0, ...far.map(({ total }) => total)]) : [0, 1],
      grid: true,
      nice: true,
      ticks: 5,
      tickFormat: tick,
    },
    marks: lines.map((rows, index) => {
      const { color, width: thick } = episodeLook(index, CONTENTS.episodes);
      return Plot.line(rows, { x: "step", y: "total", stroke: color, strokeWidth: thick, ariaDescription: "totals" });
    }),
  });
}
