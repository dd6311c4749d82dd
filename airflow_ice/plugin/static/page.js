// The page: asks for what there is, shows it, and asks again until nothing changes any more.

import { Card, copyIds } from "./cards.js";
import { count, element, identifier, length, passed, problemBox } from "./elements.js";
import { Picking } from "./picking.js";
import { readPage, Refused } from "./service.js";
import { followTheme } from "./theme.js";

const INTERVAL = 2500; // ms; the server asks ICE every 5 s at most, whoever looks
const AFTER_ERROR = 10000;

const main = document.getElementById("main");
const { run: runAddress, runId, taskId, mapIndex, hosts } = document.body.dataset;

const FILTERS = [
  ["all", "All"],
  ["good", "Ready"],
  ["failed", "Failed"],
  ["running", "In production"],
];

class Page {
  constructor() {
    this.cards = new Map();
    this.filter = "all";
    this.problems = element("div");
    this.summary = element("header");
    this.tools = element("div", { class: "tools" });
    this.grid = element("ul", { class: "grid" });
    this.bar = element("div", { class: "stays" });
    this.picking = new Picking(() => this.drawCards());
    setInterval(() => this.tick(), 1000);
  }

  async refresh() {
    clearTimeout(this.timer);
    let pause = INTERVAL;
    try {
      const view = await readPage();
      if (view.kind === "pick") await this.picking.read(view);
      this.receivedAt = performance.now();
      this.show(view);
      if (view.settled && !(view.kind === "pick" && this.picking.open)) pause = 0;
      if (view.kind === "none") pause = INTERVAL;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const kept = this.view ? "What is below was seen before." : "";
      if (!this.view) main.replaceChildren(this.problems);
      this.problems.replaceChildren(problemBox(error.problem, kept));
      pause = AFTER_ERROR;
    }
    if (pause) this.timer = setTimeout(() => this.refreshWhenSeen(), pause);
  }

  refreshWhenSeen() {
    if (!document.hidden) return this.refresh();
    document.addEventListener("visibilitychange", () => this.refresh(), { once: true });
    return undefined;
  }

  show(view) {
    if (lacksHosts(view)) return;
    const first = this.view?.kind !== view.kind;
    this.view = view;
    const kept = view.job?.status ? "What is below was seen before." : "";
    this.problems.replaceChildren(...(view.problem ? [problemBox(view.problem, kept)] : []));
    if (view.kind === "none") {
      main.replaceChildren(nothing());
    } else if (view.kind === "run") {
      main.replaceChildren(runPage(view));
    } else {
      if (first) {
        main.replaceChildren(this.problems, this.summary, this.tools, this.grid, this.bar);
      }
      this.drawSummary();
      this.drawTools();
      this.drawCards();
    }
  }

  drawSummary() {
    const { view } = this;
    if (view.kind === "pick") {
      this.summary.replaceChildren(...this.picking.heading());
      return;
    }
    this.clock = element("span", { class: "quiet" });
    this.summary.replaceChildren(
      element("h1", {}, "ICE videos", element("span", { class: "quiet" }, ` of ${taskId}`)),
      ...progress(view, this.clock),
      facts(view),
    );
    if (view.job.error) {
      const { code, message } = view.job.error;
      this.summary.append(problemBox({ title: code, detail: message }));
    }
    this.tick();
  }

  /** Let the time that has passed run between two reads. */
  tick() {
    const { job, ended } = this.view ?? {};
    if (!job || !this.clock || job.elapsed === null) return;
    const since = ended || job.ended_at ? 0 : (performance.now() - this.receivedAt) / 1000;
    this.clock.textContent = `${ended ? "took" : "for"} ${passed(job.elapsed + since)}`;
  }

  drawTools() {
    const { videos, counts } = this.view;
    const key = JSON.stringify([counts, videos.map((video) => video.media_id)]);
    if (this.tools.dataset.key === key) return; // the focus stays where it is
    this.tools.dataset.key = key;
    const states = [counts?.good, counts?.failed, counts?.running].filter(Boolean);
    const several = states.length > 1;
    const filters = FILTERS.filter(([name]) => name === "all" || counts?.[name]);
    if (!filters.some(([name]) => name === this.filter)) this.filter = "all";
    const held = this.tools.querySelector(":focus")?.value;
    this.tools.replaceChildren(
      ...[
        several ? this.filters(filters, counts) : null,
        videos.length ? copyIds(videos) : null,
      ].filter(Boolean),
    );
    if (held) this.tools.querySelector(`[value="${held}"]`)?.focus();
  }

  filters(filters, counts) {
    const choices = filters.map(([name, words]) =>
      element(
        "label",
        {},
        element("input", {
          type: "radio",
          name: "filter",
          value: name,
          checked: this.filter === name,
          onchange: () => {
            this.filter = name;
            this.drawCards();
          },
        }),
        ` ${words} (${name === "all" ? counts.total : counts[name]})`,
      ),
    );
    return element("fieldset", { class: "filters" }, element("legend", {}, "Show"), choices);
  }

  drawCards() {
    const { videos, kind } = this.view;
    const shown = videos.filter((video) => this.filter === "all" || video.state === this.filter);
    const roots = shown.map((video) => {
      const key = video.option ?? video.subjob_id ?? video.index;
      if (!this.cards.has(key)) {
        this.cards.set(key, new Card((ticked, on) => this.picking.tick(ticked, on)));
      }
      const card = this.cards.get(key);
      card.update(video, kind === "pick" ? this.picking.of(video) : {});
      return card.root;
    });
    const now = [...this.grid.children];
    // A card that is moved in the document stops playing, so they are moved only when they must be.
    if (roots.length !== now.length || roots.some((root, place) => root !== now[place])) {
      this.grid.replaceChildren(...roots);
    }
    if (kind === "pick") this.picking.drawBar(this.bar);
  }
}

/** Load the page again where the task's videos lie elsewhere than it may play from: a page that was
 * opened before the job was known knows no custom domain. Once only. */
function lacksHosts(view) {
  const known = hosts.split(" ");
  const missing = (view.media_hosts ?? []).some((host) => !known.includes(host));
  const mark = `ice-reloaded ${location.pathname}`;
  if (!missing || sessionStorage.getItem(mark)) return false;
  sessionStorage.setItem(mark, "yes");
  location.reload();
  return true;
}

function progress(view, clock) {
  const { counts, percent, job, ended } = view;
  if (!job.status) return [];
  const parts = [
    counts.total ? `${counts.good} of ${count(counts.total, "video")} ready` : "Getting started",
    counts.failed ? `${counts.failed} failed` : "",
    counts.running ? `${counts.running} in production` : "",
  ].filter(Boolean);
  const bar = element("progress", {
    "aria-label": "Progress of the batch",
    max: 100,
    value: percent ?? undefined,
  });
  return [
    element("p", { class: "state" }, parts.join(" · "), " ", clock),
    ended ? null : element("div", { class: "bar" }, bar, percent === null ? "" : `${percent} %`),
    ended ? totals(view.videos) : null,
  ].filter(Boolean);
}

function totals(videos) {
  const good = videos.filter((video) => video.state === "good");
  const seconds = good.reduce((sum, video) => sum + (video.duration ?? 0), 0);
  if (!seconds) return null;
  return element("p", { class: "quiet" }, `${length(seconds)} of video in all`);
}

function facts({ job, seen_at: seenAt }) {
  const asked = `${job.ice_conn_id}${job.region_id ? `, ${job.region_id}` : ""}`;
  return element(
    "details",
    { class: "job" },
    element("summary", {}, "Billed job ", element("code", {}, job.job_id)),
    element(
      "div",
      { class: "facts" },
      identifier("job id", job.job_id),
      job.request_id ? identifier("RequestId", job.request_id) : null,
      element("span", {}, element("span", { class: "quiet" }, "state "), job.status ?? "unknown"),
      job.job_type
        ? element("span", {}, element("span", { class: "quiet" }, "type "), job.job_type)
        : null,
      element("span", {}, element("span", { class: "quiet" }, "connection "), asked),
      seenAt
        ? element(
            "span",
            {},
            element("span", { class: "quiet" }, "seen "),
            new Date(seenAt).toLocaleTimeString(),
          )
        : null,
    ),
  );
}

function nothing() {
  return element(
    "div",
    { class: "nothing" },
    element("h1", {}, "ICE videos"),
    element("p", {}, "This task has no ICE job yet."),
    element(
      "p",
      { class: "quiet" },
      "Tasks that submit, wait for or collect a batch job show their videos here, as soon as the " +
        "job is known. ",
      element("a", { href: runAddress }, "All jobs of this run"),
    ),
  );
}

function runPage(view) {
  const { counts, jobs } = view;
  const words = jobs.length
    ? `${count(jobs.length + view.left_out, "job")} · ${counts.good} of ` +
      `${count(counts.total, "video")} ready` +
      (counts.failed ? ` · ${counts.failed} failed` : "") +
      (counts.running ? ` · ${counts.running} in production` : "") +
      (view.seconds ? ` · ${length(view.seconds)} of video` : "")
    : "No task of this run has an ICE job yet.";
  return element(
    "div",
    {},
    element("h1", {}, "ICE videos", element("span", { class: "quiet" }, ` of run ${runId}`)),
    element("p", { class: "state" }, words),
    view.left_out
      ? element("p", { class: "quiet" }, `Not shown: ${count(view.left_out, "more job")}.`)
      : null,
    element("ul", { class: "jobs" }, jobs.map(runRow)),
  );
}

function runRow({ job, counts, percent, tasks, ended, problem, seconds }) {
  const last = tasks[tasks.length - 1];
  const link = `${runAddress}/tasks/${encodeURIComponent(last.task_id)}/${last.map_index}`;
  const names = tasks.map(
    ({ task_id: name, map_index: index }) => (index >= 0 ? `${name} [${index}]` : name),
  );
  return element(
    "li",
    { class: "card" },
    element("h2", {}, element("a", { href: link }, [...new Set(names)].join(", "))),
    element(
      "p",
      {},
      counts.total
        ? `${counts.good} of ${count(counts.total, "video")} ready` +
            (counts.failed ? ` · ${counts.failed} failed` : "") +
            (seconds ? ` · ${length(seconds)}` : "")
        : (job.status ?? "Not seen yet"),
    ),
    ended ? null : element("progress", { max: 100, value: percent ?? undefined }),
    problem ? problemBox(problem) : null,
    identifier("billed job", job.job_id),
    job.request_id ? identifier("RequestId", job.request_id) : null,
  );
}

followTheme();
document.body.dataset.mapped = String(Number(mapIndex) >= 0);
const page = new Page();
document.addEventListener("answered", () => page.drawSummary());
page.refresh();
