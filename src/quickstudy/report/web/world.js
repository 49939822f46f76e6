// Where the agent went: the scenes of trials, the episodes of one trial in lock step.
let playing = null;

function world() {
  const found = CONTENTS.world;
  onTrial.length = 0;
  if (!found) return section("world", element("p", { class: "note" }, word("noWorld")));
  const trial = () => found.trials[state.trial];
  const last = () => trial().episodes.length - 1;
  state.pair ??= [0, last()];
  const traced = trial().episodes[0].trace !== null;
  const paths = traced ? chart((width) => pathsPicture(trial(), width), word("paths")) : null;
  const pictures = state.pair.map((_, side) =>
    chart((width) => episodePicture(trial(), state.pair[side], state.moment, width), word("oneEpisode")),
  );
  const notes = state.pair.map(() => element("p", { class: "note" }));
  const output = element("output");
  const slide = element("input", { type: "range", min: 0, step: 1, "aria-label": word("moment") });

  function redraw() {
    const { episodes } = trial();
    const most = d3.max(episodes, ({ steps }) => steps.length) - 1;
    state.moment = Math.min(state.moment, most);
    slide.max = most;
    play.parentNode.hidden = most < 1;
    slide.value = state.moment;
    const longest = d3.greatest(episodes, ({ steps }) => steps.length);
    output.textContent = word("step", { step: longest.steps[state.moment], steps: longest.steps.at(-1) });
    slide.setAttribute("aria-valuetext", output.textContent);
    notes.forEach((note, side) => {
      note.textContent = word("soFar", { total: number(at(episodes[state.pair[side]], "totals")) });
    });
    for (const each of [paths, ...pictures]) each?.redraw();
  }
  slide.addEventListener("input", () => {
    state.moment = Number(slide.value);
    redraw();
  });
  const play = element("button", { type: "button", onclick: () => (playing ? stop() : start()) }, word("play"));
  function stop() {
    clearInterval(playing);
    playing = null;
    play.textContent = word("play");
  }
  function start() {
    const most = Number(slide.max);
    if (state.moment >= most) state.moment = -1;
    playing = setInterval(
      () => {
        state.moment += 1;
        redraw();
        if (state.moment >= Number(slide.max)) stop();
      },
      Math.max(60, Math.min(400, 8000 / (most + 1))),
    );
    play.textContent = word("pause");
  }
  stop();
  const goal = choice(
    word("goal"),
    [
      [true, word("shown")],
      [false, word("hiddenGoal")],
    ],
    state.goal,
    (shown) => {
      state.goal = shown;
      for (const each of onTrial) each();
    },
  );
  const sides = state.pair.map((_, side) =>
    element(
      "div",
      {},
      element("label", {}, `${word("oneEpisode")} `, episodeSelect(side, redraw)),
      pictures[side],
      notes[side],
    ),
  );
  const part = section(
    "world",
    element("p", { class: "note" }, worldNotes(found).join(" ")),
    element("div", { class: "controls" }, trialSelect(redraw), goal),
    element("div", { class: "controls" }, play, element("label", {}, `${word("moment")} `, slide), output),
    traced ? legend(trial().episodes.map((_, index) => episodeEntry(index, last() + 1)), "legend") : null,
    element(
      "div",
      { class: "scenes" },
      traced ? element("div", {}, element("h3", {}, word("paths")), paths) : null,
      ...sides,
    ),
  );
  redraw();
  return part;
}

function worldNotes({ every }) {
  const notes = [word("worldText")];
  if (CONTENTS.seeds.length > 1) notes.push(word("ofSeed", { seed: CONTENTS.seeds[0] }));
  if (CONTENTS.adaptation.lanes > 1) notes.push(word("firstLane", { lanes: CONTENTS.adaptation.lanes }));
  if (every > 1) notes.push(word("everySteps", { every }));
  return notes;
}

// Pictures of one trial change together, wherever it is chosen.
const onTrial = [];

function trialSelect(redraw) {
  const says = (task) =>
    Object.entries(task)
      .map(([name, value]) => `${name} = ${typeof value === "string" ? value : plainNumber(value)}`)
      .join(", ");
  const select = element(
    "select",
    {
      onchange: () => {
        state.trial = Number(select.value);
        for (const each of onTrial) each();
      },
    },
    ...CONTENTS.steps.trials.map(({ task }, index) =>
      element("option", { value: index, selected: index === state.trial ? "" : null }, `${index + 1}: ${says(task)}`),
    ),
  );
  onTrial.push(() => {
    select.value = state.trial;
    redraw();
  });
  return element("label", {}, `${word("task")} `, select);
}

function plainNumber(value) {
  return d3.format(".3~g")(value).replace("-", "−");
}

function episodeSelect(side, redraw) {
  const count = CONTENTS.world.trials[0].episodes.length;
  const select = element(
    "select",
    {
      onchange: () => {
        state.pair[side] = Number(select.value);
        redraw();
      },
    },
    ...d3
      .range(count)
      .map((index) =>
        element("option", { value: index, selected: index === state.pair[side] ? "" : null }, String(index + 1)),
      ),
  );
  return select;
}

function at(episode, what, moment = state.moment) {
  return episode[what][Math.min(moment, episode.steps.length - 1)];
}

// Early episodes are faint and broad, late ones strong and narrow, so that equal paths show all of their colours.
function episodeLook(index, count) {
  const share = count > 1 ? index / (count - 1) : 1;
  const [light, dark] = [0.78 - 0.48 * share, 0.4 + 0.55 * share].map((place) => d3.interpolateViridis(place));
  // the plotting library takes variables for colours, and of pairs knows nothing
  document.documentElement.style.setProperty(`--episode-${index}`, `light-dark(${light}, ${dark})`);
  return { color: `var(--episode-${index})`, width: 7 - 4.5 * share };
}

function episodeEntry(index, count) {
  return { look: episodeLook(index, count), text: `${word("oneEpisode")} ${index + 1}` };
}

// A picture in the world's own units; y grows upwards there and downwards here.
function paper([left, low, right, high], width) {
  const wide = Math.min(width, (340 * (right - left)) / (high - low));
  return d3
    .create("svg")
    .attr("class", "paper")
    .attr("width", wide)
    .attr("height", (wide * (high - low)) / (right - left))
    .attr("viewBox", `${left} ${-high} ${right - left} ${high - low}`);
}

function drawShapes(parent, numbers) {
  for (const number of numbers) {
    const [kind, hidden, color, points, size, text] = CONTENTS.world.shapes[number];
    if (hidden && !state.goal) continue;
    if (kind === "disc")
      parent.append("circle").attr("cx", points[0]).attr("cy", -points[1]).attr("r", size).attr("fill", paint(color));
    else if (kind === "polygon") parent.append("polygon").attr("points", pairs(points)).attr("fill", paint(color));
    else if (kind === "line") line(parent, pairs(points), size, paint(color));
    else if (kind === "pixels")
      parent
        .append("image")
        .attr("class", "pixels")
        .attr("x", points[0])
        .attr("y", -points[1] - size[1])
        .attr("width", size[0])
        .attr("height", size[1])
        .attr("preserveAspectRatio", "none")
        .attr("href", `data:image/png;base64,${text}`);
    else
      parent
        .append("text")
        .attr("x", points[0])
        .attr("y", -points[1])
        .attr("font-size", size / 0.7)
        .attr("text-anchor", "middle")
        .attr("dominant-baseline", "central")
        .attr("fill", paint(color))
        .text(text);
  }
}

function line(parent, points, width, color) {
  return parent
    .append("polyline")
    .attr("points", points)
    .attr("fill", "none")
    .attr("stroke", color)
    .attr("stroke-width", width)
    .attr("stroke-linejoin", "round")
    .attr("stroke-linecap", "round");
}

function pairs(numbers) {
  return d3.range(0, numbers.length, 2).map((index) => `${numbers[index]},${-numbers[index + 1]}`).join(" ");
}

function pathsPicture({ view, episodes }, width) {
  const picture = paper(view, width);
  const pixel = (view[2] - view[0]) / Number(picture.attr("width"));
  const [{ ground, figures }] = episodes;
  drawShapes(picture.append("g"), ground[0]);
  // of the figures only the goal, which is the same in all episodes
  const goal = figures[0].filter((number) => CONTENTS.world.shapes[number][1]);
  drawShapes(picture.append("g"), goal);
  episodes.forEach((episode, index) => {
    const { color, width: thick } = episodeLook(index, episodes.length);
    const path = episode.trace.slice(0, state.moment + 1);
    line(picture, pairs(path.flat()), thick * pixel, color).attr("class", "path").attr("data-episode", index + 1);
  });
  episodes.forEach((episode, index) => {
    const { color, width: thick } = episodeLook(index, episodes.length);
    const [x, y] = at(episode, "trace");
    picture
      .append("circle")
      .attr("class", "head")
      .attr("cx", x)
      .attr("cy", -y)
      .attr("r", (thick + 2) * pixel)
      .attr("fill", color)
      .attr("stroke", "var(--card)")
      .attr("stroke-width", pixel);
  });
  return picture.node();
}

function episodePicture({ view, episodes }, index, moment, width) {
  const episode = episodes[index];
  const picture = paper(view, width);
  const pixel = (view[2] - view[0]) / Number(picture.attr("width"));
  drawShapes(picture.append("g"), at(episode, "ground", moment));
  if (episode.trace) {
    const { color } = episodeLook(index, episodes.length);
    line(picture, pairs(episode.trace.slice(0, moment + 1).flat()), 3 * pixel, color).attr("class", "path");
  }
  drawShapes(picture.append("g"), at(episode, "figures", moment));
  return picture.node();
}

// From nearly the paper to what stands out most from it.
function chanceColor(share) {
  return `light-dark(${d3.interpolateBlues(share)}, ${d3.interpolateLab("#1d2226", "#9fd0ff")(share)})`;
}

// The chance of each cell of a grid, standing out more where it is likelier, and the cell that the agent is in.
function cellsPicture(chances, size, [column, row], view, width) {
  const picture = paper(view, width);
  for (const [index, chance] of chances.entries()) {
    const [x, y] = [index % size, Math.floor(index / size)];
    picture
      .append("rect")
      .attr("class", "cell")
      .attr("x", x - 0.5)
      .attr("y", -y - 0.5)
      .attr("width", 1)
      .attr("height", 1)
      // the square root tells small chances apart, of which there are many at first
      .attr("fill", chance ? chanceColor(0.08 + 0.92 * Math.sqrt(chance)) : "var(--card)")
      .attr("stroke", "var(--line)")
      .attr("stroke-width", 0.025)
      .attr("data-chance", chance);
    if (chance >= 0.005)
      picture
        .append("text")
        .attr("x", x)
        .attr("y", -y)
        .attr("font-size", 0.3)
        .attr("text-anchor", "middle")
        .attr("dominant-baseline", "central")
        .attr("fill", chance > 0.25 ? "light-dark(white, #14181b)" : "var(--ink)")
        .text(`${Math.round(100 * chance)}%`);
  }
  picture
    .append("rect")
    .attr("x", column - 0.46)
    .attr("y", -row - 0.46)
    .attr("width", 0.92)
    .attr("height", 0.92)
    .attr("fill", "none")
    .attr("stroke", "var(--here)")
    .attr("stroke-width", 0.07);
  return picture.node();
}
