// A training that is followed: while somebody looks, the server is asked every other second, and what is new is drawn.
const EVERY = 2000;

Object.assign(WORDS.en, {
  made: "Served by quickstudy {version} on this machine, to this machine only.",
  training: "Training",
  alive: "In training.",
  elsewhere: "In training on another machine, or killed there: this machine can't tell.",
  dead: "The trainer was killed or crashed: its process is gone. What was saved is kept; go on with:",
  stopped: "Stopped and saved. Go on with:",
  finished: "Finished. See how it adapts to held-out tasks:",
  lost: "The server of this page doesn't answer any more. Start it again with:",
  left: "about {left} left",
  "h min": "{hours} h {minutes} min",
  min: "{minutes} min",
  s: "{seconds} s",
  byEpisode: "Validation",
  byEpisodeText:
    "Return by episode on validation tasks, the same ones each time: a line for each evaluation, " +
    "the faintest the oldest.",
});
Object.assign(WORDS.zh, {
  made: "由本机的 quickstudy {version} 提供，仅供本机访问。",
  training: "训练",
  alive: "训练中。",
  elsewhere: "在另一台机器上训练，或已在那里被终止：本机无法判断。",
  dead: "训练进程已被终止或崩溃。已保存的内容都在；继续训练：",
  stopped: "已停止并保存。继续训练：",
  finished: "已完成。查看它如何适应留出任务：",
  lost: "此页面的服务器不再响应。重新启动：",
  left: "约剩 {left}",
  "h min": "{hours} 小时 {minutes} 分",
  min: "{minutes} 分",
  s: "{seconds} 秒",
  byEpisode: "验证",
  byEpisodeText: "验证任务上每回合的回报，每次任务相同：每次评估一条线，越淡越早。",
});

const PARTS = [training, byEpisode, learning, health, facts];

// How far it has come changes, and is told below.
function subtitle() {
  const { run, seeds } = CONTENTS;
  return [run, seeds.length > 1 ? word("seeds", { seeds: seeds.join(", ") }) : word("seed", { seed: seeds[0] })];
}

// How the training stands, and what to type where it doesn't go on.
function training() {
  const says = element("p", { id: "says", role: "status" });
  const doing = element("p", { class: "note", id: "doing" });
  const bar = element("progress", { max: 1, "aria-label": word("training") });
  const made = section("training", says, element("pre", { id: "type" }), bar, doing);
  tellTraining(made);
  return made;
}

function tellTraining(place) {
  const { state: stands, command } = CONTENTS.trainer;
  const says = place.querySelector("#says");
  // a text that stays is not set again: it would be read out each time
  if (says.textContent !== word(stands)) says.textContent = word(stands);
  place.dataset.state = stands;
  place.querySelector("#type").textContent = command;
  place.querySelector("#type").hidden = !command;
  const { done, iterations, lived, steps } = CONTENTS;
  place.querySelector("progress").value = Math.max(iterations ? done / iterations : 0, steps ? lived / steps : 0);
  const doing = howFar();
  if (CONTENTS.left !== null) doing.push(word("left", { left: duration(CONTENTS.left) }));
  place.querySelector("#doing").textContent = doing.join(", ");
}

function duration(seconds) {
  if (seconds < 60) return word("s", { seconds: Math.max(1, Math.round(seconds)) });
  const minutes = Math.round(seconds / 60);
  return minutes < 60
    ? word("min", { minutes })
    : word("h min", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}

// Return by episode at each evaluation; the slider chooses one of them.
function byEpisode() {
  const stops = CONTENTS.validation;
  if (!stops.length) return section("byEpisode", element("p", { class: "note" }, word("noValidation")));
  state.stop = Math.min(state.stop ?? Infinity, stops.length - 1);
  const picture = chart((width) => byEpisodePlot(stops, width), word("byEpisode"));
  return section("byEpisode", element("p", { class: "note" }, word("byEpisodeText")), picture, slider(stops, picture));
}

function byEpisodePlot(stops, width) {
  const rows = stops.flatMap(({ returns }, stop) =>
    returns.map((value, index) => ({ stop, episode: index + 1, value, age: 0.12 + (0.5 * (stop + 1)) / stops.length })),
  );
  const chosen = rows.filter(({ stop }) => stop === state.stop);
  const episodes = d3.max(rows, ({ episode }) => episode);
  const color = LOOKS.validation.color;
  return plot({
    width,
    height: Math.min(360, Math.max(240, width * 0.4)),
    marginLeft: 52,
    x: episodeAxis(episodes),
    y: { label: word("return"), grid: true, nice: true, ticks: 6, tickFormat: tick },
    marks: [
      Plot.line(rows, { x: "episode", y: "value", z: "stop", stroke: color, strokeOpacity: "age", strokeWidth: 1.2 }),
      Plot.line(chosen, { x: "episode", y: "value", stroke: color, strokeWidth: 2.5 }),
      Plot.dot(chosen, { x: "episode", y: "value", fill: color, r: 4.5, ariaDescription: "chosen" }),
      Plot.tip(
        chosen,
        Plot.pointer({
          x: "episode",
          y: "value",
          title: ({ episode, value }) => `${word("episode")} ${episode}: ${number(value)}`,
        }),
      ),
    ],
    opacity: { type: "identity" },
  });
}

// What is new, drawn where it belongs: what the reader opened, chose or points at stays as it is.
function show(fresh) {
  const before = CONTENTS.series.metrics.join();
  const stops = CONTENTS.validation.length;
  const latest = state.stop === stops - 1;
  Object.assign(CONTENTS, fresh);
  if (CONTENTS.series.metrics.join() !== before) return render();
  tellTraining(document.getElementById("training"));
  if (CONTENTS.validation.length !== stops) {
    if (latest) state.stop = Infinity;
    const old = document.getElementById("byEpisode");
    const sliding = old.contains(document.activeElement);
    old.replaceWith(byEpisode());
    if (sliding) document.querySelector("#byEpisode input").focus();
  }
  for (const each of document.querySelectorAll("#learning .chart, #health .chart"))
    if (!each.matches(":hover")) each.redraw();
}

async function follow() {
  if (!document.hidden) {
    try {
      const answer = await fetch(`figures?looks=${CONTENTS.looks}`);
      const fresh = answer.ok ? await answer.json() : null;
      if (fresh) show(fresh);
    } catch {
      CONTENTS.looks = -1;
      CONTENTS.trainer = { state: "lost", command: CONTENTS.again };
      tellTraining(document.getElementById("training"));
    }
  }
  setTimeout(follow, EVERY);
}

follow();
