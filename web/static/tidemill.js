// Keeps pages fresh and sends orders to the API. Every page reads without it.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function toast(text) {
  const box = document.querySelector(".toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { box.hidden = true; }, 6000);
}

// What only works with scripts is hidden until here.
function wake(root) {
  for (const element of all("[data-js]", root)) element.hidden = false;
  for (const graph of all("[data-graph]", root)) wakeGraph(graph);
  // The newest run is at the right.
  for (const grid of all(".grid", root)) grid.parentElement.scrollLeft = grid.scrollWidth;
}

// Times --------------------------------------------------------------------------------------

// The server's clock counts; a browser's may be wrong.
const skew = Date.parse(document.body.dataset.now) - Date.now() || 0;

function relative(at, now) {
  const future = at > now;
  const s = Math.floor(Math.abs(now - at) / 1000);
  if (s < 5 && !future) return "just now";
  const h = Math.floor(s / 3600), m = Math.floor(s / 60);
  let text;
  if (s < 60) text = `${s} s`;
  else if (s < 3600) text = `${m} min`;
  else if (s < 36000 && m % 60) text = `${h} h ${m % 60} min`;
  else if (s < 86400) text = `${h} h`;
  else if (s < 5184000) text = `${Math.floor(s / 86400)} d`;
  else if (s < 63072000) text = `${Math.floor(s / 2592000)} months`;
  else text = `${Math.floor(s / 31536000)} years`;
  return future ? `in ${text}` : `${text} ago`;
}

function age() {
  const now = Date.now() + skew;
  for (const time of all("time[data-rel]")) {
    const text = relative(Date.parse(time.dateTime), now);
    if (time.textContent !== text) time.textContent = text;
  }
}

// Parts that follow what happens -------------------------------------------------------------

function replace(element, html) {
  const kept = new Map(all("[data-keep]", element).map((part) => [part.dataset.keep, part]));
  const focus = document.activeElement;
  const inside = element.contains(focus) && focus !== document.body;
  const place = inside && (focus.id || focus.getAttribute("href") || focus.dataset.post);
  const scrolls = [...kept].map(([name, part]) => [name, part.scrollLeft, part.scrollTop]);
  element.innerHTML = html;
  for (const [name, left, top] of scrolls) {
    const part = element.querySelector(`[data-keep="${name}"]`);
    if (part) { part.scrollLeft = left; part.scrollTop = top; }
  }
  if (place) {
    const again = all("a[href], button, [id]", element).find((other) =>
      other.id === place || other.getAttribute("href") === place || other.dataset.post === place);
    if (again) again.focus({ preventScroll: true });
  }
  wake(element);
}

async function follow(element) {
  let tag = "";
  let wait = Number(element.dataset.every);
  for (;;) {
    await pause(wait);
    if (document.hidden) continue;
    try {
      const answer = await fetch(element.dataset.live, { headers: tag ? { "if-none-match": tag } : {} });
      if (answer.status === 200) {
        tag = answer.headers.get("etag") ?? "";
        replace(element, await answer.text());
      } else if (answer.status !== 304) {
        throw new Error(String(answer.status));
      }
      wait = Number(element.dataset.every);
      if (answer.headers.get("x-again") === "no") return;
    } catch {
      wait = Math.min(wait * 2, 15000);
    }
  }
}

// Orders -------------------------------------------------------------------------------------

const send = (url, body) => fetch(url, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

// What came of an order; nothing if it was refused, which is then told.
async function order(url, body) {
  try {
    const answer = await send(url, body);
    const data = await answer.json().catch(() => ({}));
    if (answer.ok) return data;
    toast([data.detail ?? `The server answered ${answer.status}.`, data.help].filter(Boolean).join(" – "));
  } catch {
    toast("The server does not answer.");
  }
}

async function post(url, body, then, button) {
  if (button) button.disabled = true;
  const data = await order(url, body);
  if (data && then === "run") location.assign(data.url);
  else if (data) location.reload();
  else if (button) button.disabled = false;
}

// What would go again is asked first, and told.
async function rerun(url, what, button) {
  const plan = await order(url, { ...what, preview: true });
  if (!plan) return;
  const named = (names) => names.length > 8 ? `${names.slice(0, 8).join(", ")} and ${names.length - 8} more` : names.join(", ");
  const parts = [`Run again: ${named(plan.again)}.`];
  if (plan.loads.length) parts.push(`These write to another system: ${named(plan.loads)}.`);
  if (plan.kept.length) parts.push(`Results stay of: ${named(plan.kept)}.`);
  if (window.confirm(parts.join("\n\n"))) post(url, what, "reload", button);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-rerun]");
  if (!button) return;
  const { rerun: url, tasks, from } = button.dataset;
  rerun(url, from ? { from } : { tasks }, button);
});

// What a mark would do is asked first, and told.
async function mark(url, task, state, button) {
  const what = { state, tasks: [task] };
  const plan = await order(url, { ...what, preview: true });
  if (!plan) return;
  const parts = [`Mark ${task} as ${state}?`];
  if (plan.ended_first.length) parts.push("It runs, and is ended first.");
  if (plan.again.length) parts.push(`These could not run because of it, and run then: ${plan.again.join(", ")}.`);
  if (window.confirm(parts.join("\n\n"))) post(url, what, "reload", button);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-mark]");
  if (!button) return;
  const { mark: url, task, state } = button.dataset;
  mark(url, task, state, button);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-post]");
  if (!button) return;
  const { post: url, then, confirm: question } = button.dataset;
  if (question && !window.confirm(question)) return;
  post(url, {}, then, button);
});

function read(input) {
  const text = input.value;
  switch (input.dataset.kind) {
    case "integer":
    case "number": return text === "" ? undefined : Number(text);
    case "boolean": return text === "true";
    case "string": return text;
    case "json":
      try { return text === "" ? undefined : JSON.parse(text); } catch { return text; }
    default: return text === "" ? undefined : text;
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const { form: starts, answer, note } = form.dataset;
  if (!starts && !answer && !note) return;
  event.preventDefault();
  if (note) {
    const task = form.dataset.task || null;
    post(note, { text: form.elements.text.value, task }, "reload", form.querySelector("button"));
    return;
  }
  const params = {};
  for (const input of all("[data-kind]", form)) {
    const value = read(input);
    if (value !== undefined) params[input.name] = value;
  }
  if (starts) {
    post(starts, { params }, form.dataset.then, form.querySelector("button"));
  } else {
    const approved = event.submitter?.value === "yes";
    const values = approved ? params : {};
    post(answer, { approved, values, note: form.elements.note.value }, "reload", event.submitter);
  }
});

// Graph --------------------------------------------------------------------------------------

let fit = false;

function wakeGraph(graph) {
  const button = graph.parentElement.querySelector("[data-fit]");
  const show = () => {
    graph.classList.toggle("fit", fit);
    if (button) button.textContent = fit ? "Full size" : "Fit to width";
  };
  show();
  if (button) {
    button.hidden = !fit && graph.scrollWidth <= graph.clientWidth + 1;
    button.addEventListener("click", () => { fit = !fit; show(); });
  }
  const node = graph.querySelector(".n-failed, .n-running");
  if (node && !graph.dataset.seen && !graph.scrollLeft) {
    const box = node.getBoundingClientRect(), frame = graph.getBoundingClientRect();
    if (box.right > frame.right) graph.scrollLeft += box.right - frame.right + 60;
  }
  graph.dataset.seen = "yes";
  const light = (of, on) => {
    for (const path of all(`[data-a="${of}"], [data-b="${of}"]`, graph)) {
      path.classList.toggle("hot", on);
      const other = path.dataset.a === of ? path.dataset.b : path.dataset.a;
      graph.querySelector(`[data-n="${other}"]`)?.classList.toggle("hot", on);
    }
  };
  for (const [name, on] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
    graph.addEventListener(name, (event) => {
      const of = event.target.closest?.("[data-n]")?.dataset.n;
      if (of !== undefined) light(of, on);
    });
  }
}

// Log ----------------------------------------------------------------------------------------

const log = document.querySelector("#log .log");
const following = document.querySelector("[data-log-follow]");
const search = document.querySelector("[data-log-find]");

function toEnd() {
  if (log && following?.checked) log.scrollTop = log.scrollHeight;
}

function find() {
  if (!log || !search) return;
  const words = search.value.toLowerCase();
  let found = 0;
  for (const line of log.children) {
    const hit = !words || line.lastElementChild.textContent.toLowerCase().includes(words);
    line.classList.toggle("miss", !hit);
    if (hit) found += 1;
  }
  document.querySelector("[data-log-found]").textContent = words ? `${found} found` : "";
}

const LINES_MAX = 20000;

async function tail() {
  let { log: url, next } = log.dataset;
  let wait = 200;
  for (;;) {
    try {
      const answer = await fetch(url + next);
      if (!answer.ok) throw new Error(String(answer.status));
      log.insertAdjacentHTML("beforeend", await answer.text());
      while (log.children.length > LINES_MAX) log.firstElementChild.remove();
      next = answer.headers.get("x-next") ?? next;
      find();
      toEnd();
      if (answer.headers.get("x-again") === "no") return;
      wait = 200;
    } catch {
      wait = Math.min(wait * 2, 15000);
    }
    await pause(wait);
  }
}

if (log) {
  search?.addEventListener("input", find);
  document.querySelector("[data-log-wrap]")?.addEventListener("change", (event) => {
    log.classList.toggle("nowrap", !event.target.checked);
  });
  log.addEventListener("wheel", (event) => {
    if (following && event.deltaY < 0) following.checked = false;
  }, { passive: true });
  following?.addEventListener("change", toEnd);
  // The end of a log is where the error is.
  if (!location.hash.startsWith("#L")) log.scrollTop = log.scrollHeight;
  if (log.dataset.log) tail();
}

// Keys ---------------------------------------------------------------------------------------

let last = "";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const to = { h: "/", d: "/dags", r: "/runs", p: "/profiles" }[event.key];
  if (event.key === "/") {
    const field = document.querySelector("[data-focus]");
    if (field) { event.preventDefault(); field.focus(); }
  } else if (last === "g" && to) {
    location.assign(to);
  }
  last = event.key;
});

wake(document);
age();
setInterval(age, 5000);
for (const element of all("[data-live]")) follow(element);
