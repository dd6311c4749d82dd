// A card for each video: its picture or progress, its facts, and what to do where it failed.

import { copy, element, identifier, length, size } from "./elements.js";
import { playPreview, playVideo } from "./players.js";

const STATES = { good: "Ready", failed: "Failed", running: "In production" };

export class Card {
  constructor(onTick) {
    this.onTick = onTick;
    this.screen = element("div", { class: "screen" });
    this.facts = element("div", { class: "facts" });
    this.root = element("li", { class: "card" }, this.screen, this.facts);
  }

  /** Show a video as it is now. What plays already is left in peace. */
  update(video, options = {}) {
    const key = JSON.stringify([video, options]);
    if (key === this.key) return;
    const wasPlayable = this.video?.state === "good";
    this.key = key;
    this.video = video;
    this.name = `video ${video.index}`;
    this.root.dataset.state = video.state;
    this.root.dataset.index = String(video.index);
    if (!(wasPlayable && video.state === "good")) this.drawScreen();
    this.drawFacts(options);
  }

  drawScreen() {
    const { video } = this;
    if (video.state === "running") this.screen.replaceChildren(...this.progress());
    else if (video.state === "failed") this.screen.replaceChildren(...this.failure());
    else this.screen.replaceChildren(this.playButton());
  }

  progress() {
    const known = this.video.percent !== null && this.video.percent !== undefined;
    const label = `Progress of ${this.name}`;
    return [
      element("span", { class: "percent" }, known ? `${this.video.percent} %` : "Waiting"),
      element("progress", {
        "aria-label": label,
        max: 100,
        value: known ? this.video.percent : undefined,
      }),
    ];
  }

  failure() {
    const { error_code: code, error_message: message, advice } = this.video;
    return [
      element("strong", { class: "code" }, code ?? "Failed without a code"),
      message ? element("p", {}, message) : null,
      element("p", { class: "advice" }, element("b", {}, "What to do: "), advice),
    ].filter(Boolean);
  }

  playButton() {
    const { video, name } = this;
    const what = video.is_preview ? `preview of ${name}` : name;
    const start = () => {
      const player = video.media_id
        ? playVideo(video.media_id, what)
        : playPreview(video.project_id, what);
      this.screen.replaceChildren(player);
      player.querySelector("video")?.focus();
    };
    if (!video.media_id && !video.project_id) return element("p", { class: "quiet" }, "No file.");
    return element(
      "button",
      { type: "button", class: "play", "aria-label": `Play ${what}`, onclick: start },
      element("span", { class: "triangle", "aria-hidden": "true" }),
      element("span", {}, video.is_preview ? "Play preview" : "Play"),
    );
  }

  drawFacts({ picking, picked, locked } = {}) {
    const { video } = this;
    const state = video.is_preview ? "Preview" : STATES[video.state];
    const measures = [
      length(video.duration),
      video.width && video.height ? `${video.width} × ${video.height}` : "",
      size(video.size),
    ].filter(Boolean);
    const name = element("h2", {}, `Video ${video.index}`);
    this.root.classList.toggle("picked", Boolean(picked));
    this.facts.replaceChildren(
      element(
        "div",
        { class: "head" },
        picking ? this.tick(picked, locked) : name,
        element("span", { class: `badge ${video.state}` }, state),
      ),
      ...[
        video.title ? element("p", { class: "title" }, video.title) : null,
        video.speech ? this.speech() : null,
        measures.length ? element("p", { class: "quiet" }, measures.join(" · ")) : null,
        this.ids(),
      ].filter(Boolean),
    );
  }

  tick(picked, locked) {
    const box = element("input", {
      type: "checkbox",
      checked: Boolean(picked),
      disabled: Boolean(locked),
      onchange: () => this.onTick(this.video, box.checked),
    });
    return element("label", { class: "tick" }, box, ` Video ${this.video.index}`);
  }

  speech() {
    const text = element("p", {}, this.video.speech);
    return element("details", {}, element("summary", {}, "Spoken text"), text);
  }

  ids() {
    const { video } = this;
    const known = [
      ["media id", video.media_id],
      ["project id", video.project_id],
      ["sub-job id", video.subjob_id],
    ].filter(([, id]) => id);
    if (!known.length) return null;
    return element(
      "details",
      { class: "ids" },
      element("summary", {}, "Ids"),
      known.map(([label, id]) => identifier(label, id)),
    );
  }
}

/** A button that copies the ids of all videos that are ready. */
export function copyIds(all) {
  const videos = all.filter((video) => video.state === "good");
  const media = videos.map((video) => video.media_id).filter(Boolean);
  const projects = videos.map((video) => video.project_id).filter(Boolean);
  const [ids, what] = media.length ? [media, "media ids"] : [projects, "project ids"];
  if (!ids.length) return null;
  return element(
    "button",
    { type: "button", onclick: () => copy(ids.join("\n"), `${ids.length} ${what}`) },
    `Copy ${what}`,
  );
}
