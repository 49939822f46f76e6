// An agent that is played with: a task is picked, and its trial arrives episode by episode and is shown step by step.
const STILL = matchMedia("(prefers-reduced-motion: reduce)").matches;
let trial = blank();
let asking = null;
let clock = null;

function blank() {
  CONTENTS.world = { shapes: [] };
  return { episodes: [], values: {}, task: "", luck: 0, over: false, episode: 0, moment: 0, played: 0, problem: "" };
}

const PARTS = [trying];

function subtitle() {
  return [CONTENTS.run];
}

function trying() {
  const { aimed, drawn, fields, greedy, lanes } = CONTENTS;
  const notes = [
    word(aimed ? "aim" : fields.length ? "set" : "draw"),
    word("scoredAs", { actions: word(greedy ? "greedy" : "sampled") }),
    ...(lanes > 1 ? [word("lanesText", { lanes })] : []),
  ];
  const slide = element("input", { type: "range", id: "moment", min: 0, max: 0, value: 0, step: 1, oninput: scrub });
  const made = section(
    "playing",
    element("p", { class: "note" }, notes.join(" ")),
    element(
      "div",
      { class: "controls", id: "fields" },
      ...fields.map(fieldControl),
      element("button", { type: "button", id: "other", onclick: () => go({ luck: nextLuck() }) }, word("otherTask")),
      fields.length
        ? element(
            "button",
            { type: "button", id: "again", onclick: () => go({ ...chosen(), luck: nextLuck() }) },
            word("otherLuck"),
          )
        : null,
    ),
    fields.length ? null : element("p", { id: "task" }),
    drawn
      ? element(
          "div",
          { class: "controls" },
          element("button", { type: "button", id: "play", onclick: toggle }, word("play")),
          element("label", {}, `${word("moment")} `, slide),
          element("output", { id: "pace" }),
        )
      : null,
    element("div", { id: "legend" }),
    element("div", { class: "scenes", id: "pictures" }, drawn ? picture("world", worldPicture, aimed) : null),
    element("p", { class: "note", id: "belief" }),
    element(
      "div",
      { class: "beside" },
      CONTENTS.episodes > 1
        ? element("div", {}, element("h3", {}, word("returns")), chart(returnsPlot, word("returns")))
        : null,
      element("div", {}, element("h3", {}, word("byStep")), chart(totalsPlot, word("byStep"))),
    ),
    element("p", { id: "told", role: "status" }),
  );
  // the page is being put together: what it shows is told when it stands
  queueMicrotask(() => {
    setFields();
    tell();
  });
  return made;
}

function picture(name, draw, clicked = false) {
  const made = chart(draw, word(name));
  if (clicked) {
    made.classList.add("aimed");
    made.addEventListener("click", aim);
  }
  return element("div", { id: `picture-${name}` }, element("h3", {}, word(name)), made);
}

function fieldControl({ name, low, high, logarithmic, options }) {
  if (options) {
    const select = element(
      "select",
      { "data-field": name, onchange: () => go({ ...chosen(), luck: trial.luck }) },
      ...options.map((text, index) => element("option", { value: index }, text)),
    );
    return element("label", {}, `${name} `, select);
  }
  const output = element("output");
  // where orders of magnitude count, a slider goes in even steps of the logarithm
  const along = logarithmic ? d3.scaleLog([low, high], [0, 1000]) : d3.scaleLinear([low, high], [0, 1000]);
  const input = element("input", {
    type: "range",
    "data-field": name,
    min: 0,
    max: 1000,
    step: "any",
    oninput: () => show(),
    onchange: () => go({ ...chosen(), luck: trial.luck }),
  });
  const show = () => {
    output.textContent = number(along.invert(Number(input.value)));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.along = along;
  input.show = show;
  return element("label", {}, `${name} `, input, output);
}

// What the controls stand on.
function chosen() {
  const values = {};
  for (const each of document.querySelectorAll("[data-field]")) {
    const place = Number(each.value);
    values[each.dataset.field] = each.along ? each.along.invert(place) : place;
  }
  return values;
}

function setFields() {
  for (const each of document.querySelectorAll("[data-field]")) {
    const value = trial.values[each.dataset.field];
    if (value === undefined) continue;
    each.value = each.along ? each.along(value) : value;
    each.show?.();
  }
}

function nextLuck() {
  return (trial.luck + 1) % (CONTENTS.most_luck + 1);
}

// A click into the picture of the world, in the world's own units.
function aim(event) {
  const svg = event.currentTarget.querySelector("svg");
  const seen = svg.getBoundingClientRect();
  const [left, low, right, high] = viewed();
  const x = left + ((event.clientX - seen.left) / seen.width) * (right - left);
  const y = high - ((event.clientY - seen.top) / seen.height) * (high - low);
  go({ x, y, luck: trial.luck });
}

// Asks for a trial; one that is under way is given up.
async function go(given) {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  pause();
  trial = { ...blank(), luck: given.luck };
  tell();
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given) };
    const answer = await fetch("trial", { ...options, signal });
    if (answer.ok) await read(answer.body, signal);
    else trial.problem = word("broken", { error: (await answer.text()).trim() });
  } catch {
    if (signal.aborted) return;
    trial.problem = word("lost", { again: CONTENTS.again });
  }
  if (!signal.aborted) tell();
}

async function read(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (signal.aborted) return;
    if (done) break;
    const lines = (text + value).split("\n");
    text = lines.pop();
    for (const line of lines) take(JSON.parse(line));
  }
  trial.over = trial.episodes.length === CONTENTS.episodes;
}

// A part of the trial: which task it is, an episode, or what went wrong.
function take(part) {
  if (part.error) trial.problem = word("broken", { error: part.error });
  else if (part.values) {
    Object.assign(trial, part);
    setFields();
  } else {
    CONTENTS.world.shapes.push(...part.shapes);
    trial.episodes.push(part);
    trial.over = trial.episodes.length === CONTENTS.episodes;
    if (STILL || !CONTENTS.drawn) [trial.episode, trial.moment] = [trial.episodes.length - 1, part.moments.length - 1];
    else if (trial.episodes.length === 1) resume();
  }
  tell();
}

function resume() {
  const last = trial.episodes.length - 1;
  if (trial.over && trial.episode === last && trial.moment === trial.episodes[last].moments.length - 1)
    trial.episode = trial.moment = 0;
  clock = setTimeout(advance, 0);
}

function toggle() {
  if (clock) pause();
  else resume();
  tell();
}

function pause() {
  clearTimeout(clock);
  clock = null;
}

function advance() {
  const count = trial.episodes[trial.episode].moments.length;
  const pace = Math.max(25, Math.min(220, 3500 / count));
  if (trial.moment < count - 1) trial.moment += 1;
  else if (trial.episode < trial.episodes.length - 1) [trial.episode, trial.moment] = [trial.episode + 1, 0];
  else if (trial.over) {
    pause();
    return tell();
  }
  // the end of an episode stands for a moment
  clock = setTimeout(advance, trial.moment === trial.episodes[trial.episode].moments.length - 1 ? 3 * pace : pace);
  tell();
}

function scrub(event) {
  pause();
  let place = Number(event.currentTarget.value);
  trial.episode = 0;
  while (place >= trial.episodes[trial.episode].moments.length) {
    place -= trial.episodes[trial.episode].moments.length;
    trial.episode += 1;
  }
  trial.moment = place;
  tell();
}

// How many episodes have been played to their end. Of those that were lived ahead of the reader nothing is told.
function played() {
  const { episodes, episode, moment } = trial;
  const ended = episodes[episode] && moment === episodes[episode].moments.length - 1;
  trial.played = Math.max(trial.played, episode + (ended ? 1 : 0));
  return episodes.slice(0, trial.played);
}

// Brings all that the page shows up to the moment.
function tell() {
  const { episodes, episode, moment, over, problem, task } = trial;
  const at = episodes[episode];
  const known = played();
  if (!CONTENTS.fields.length) document.getElementById("task").textContent = task;
  const told = document.getElementById("told");
  // an episode that says nothing of success has not succeeded, where another of the trial says something
  const tells = known.some(({ success }) => success !== null);
  const mark = (success) => (tells ? (success > 0 ? " ✓" : " ✗") : "");
  const returns = known.map(({ total, success }) => number(total) + mark(success));
  const says = [
    problem,
    returns.length ? word("told", { returns: returns.join(", ") }) : "",
    over || problem ? "" : word("living", { episode: episodes.length + 1, episodes: CONTENTS.episodes }),
  ]
    .filter(Boolean)
    .join(" ");
  if (told.textContent !== says) told.textContent = says;
  if (CONTENTS.drawn) tellMoment(at, episode, moment);
  tellBelief(at?.belief);
  tellLegend(episodes.length);
  for (const each of document.querySelectorAll("#playing .chart")) each.redraw();
}

function tellMoment(at, episode, moment) {
  document.getElementById("play").textContent = word(clock ? "pause" : "play");
  document.getElementById("play").disabled = !at;
  const slide = document.getElementById("moment");
  slide.disabled = !at;
  slide.parentNode.hidden = at && trial.over && d3.sum(trial.episodes, ({ moments }) => moments.length) < 2;
  if (!at) return;
  slide.max = d3.sum(trial.episodes, ({ moments }) => moments.length) - 1;
  slide.value = d3.sum(trial.episodes.slice(0, episode), ({ moments }) => moments.length) + moment;
  // how long an episode is may be what is at stake: it is told once that has been played
  const pace = word(episode < trial.played ? "pace" : "paceSoFar", {
    episode: episode + 1,
    episodes: CONTENTS.episodes,
    step: at.moments[moment],
    steps: at.steps,
    total: number(at.totals[moment]),
  });
  slide.setAttribute("aria-valuetext", pace);
  document.getElementById("pace").textContent = pace;
}

// Pictures of beliefs come with the first trial that has some, and stay.
function tellBelief(belief) {
  if (!belief) return;
  const pictures = document.getElementById("pictures");
  for (const name of ["own", "exact"])
    if (belief[name] && !document.getElementById(`picture-${name}`))
      pictures.append(picture(name, (width) => beliefPicture(name, width)));
  document.getElementById("belief").textContent = word(belief.own ? "beliefText" : "exactText");
}

function tellLegend(count) {
  const place = document.getElementById("legend");
  if (place.childElementCount || !count || CONTENTS.episodes === 1) return;
  place.append(legend(d3.range(CONTENTS.episodes).map((index) => episodeEntry(index, CONTENTS.episodes))));
}

// once the page has been put together
queueMicrotask(() => go({ luck: 0 }));
