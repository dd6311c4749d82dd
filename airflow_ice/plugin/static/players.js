// What plays. A video's address is one of our own server's, which sends the browser on to a signed
// one: so nothing signed is ever in the document, and an expired address is renewed by asking
// again.

import { element, length, problemBox } from "./elements.js";
import { clipAddress, previewOf, Refused, videoAddress, whyNot } from "./service.js";

const MOST_RENEWALS = 3; // without any progress between them
const GOOD_FOR = (Number(document.body.dataset.signedFor) - 60) * 1000; // ms
const players = new Set();

function quieten(others) {
  for (const player of players) if (player !== others) player.pause();
}

/** Load an address into a video, again at the same position when it stops being good. */
class Source {
  constructor(video, refused) {
    this.video = video;
    this.refused = refused;
    this.renewals = 0;
    this.reached = 0;
    video.addEventListener("error", () => this.renew());
    // Chromium tries a refused read again for half a minute before it calls it an error. So an
    // address that is too old is renewed before it is used.
    for (const moment of ["play", "seeking", "waiting"]) {
      video.addEventListener(moment, () => this.renewIfOld());
    }
    video.addEventListener("timeupdate", () => {
      if (video.currentTime > this.reached + 0.2) this.renewals = 0;
      if (!video.error) this.reached = video.currentTime;
    });
    video.addEventListener("seeking", () => {
      if (!video.error) this.reached = video.currentTime;
    });
  }

  open(address, at = 0, play = true) {
    this.address = address;
    this.renewals = 0;
    this.load(address, at, play);
  }

  load(address, at, play) {
    const { video } = this;
    this.reached = at;
    this.plays = play;
    this.openedAt = performance.now();
    video.src = address;
    if (at > 0) {
      video.addEventListener("loadedmetadata", () => (video.currentTime = at), { once: true });
    }
    if (play) video.play().catch(() => {}); // the error event says why
  }

  renewIfOld() {
    if (!this.address || performance.now() - this.openedAt < GOOD_FOR) return;
    const { video } = this;
    this.renewed(video.currentTime, !video.paused || this.plays);
  }

  renewed(at, play) {
    this.video.dataset.renewed = String(Number(this.video.dataset.renewed ?? 0) + 1);
    this.load(`${this.address}?again=${Date.now()}`, at, play);
  }

  async renew() {
    const { video, address } = this;
    if (!address) return;
    const at = this.reached;
    const plays = this.plays && !this.stopped;
    const reason = await whyNot(address);
    if (address !== this.address) return;
    this.renewals += 1;
    if (reason || this.renewals > MOST_RENEWALS) {
      this.refused(
        reason ?? {
          title: "This does not play",
          detail: "The file cannot be read here. It may be gone, or of a kind that this browser " +
            "does not play.",
        },
      );
      return;
    }
    this.renewed(at, plays);
  }
}

/** A video with the browser's own controls. */
export function playVideo(mediaId, label) {
  const video = element("video", { controls: true, playsinline: true, "aria-label": label });
  const box = element("div", { class: "screen" }, video);
  const source = new Source(video, (problem) => box.replaceChildren(problemBox(problem)));
  video.addEventListener("play", () => {
    source.plays = true;
    source.stopped = false;
    quieten(video);
  });
  video.addEventListener("pause", () => {
    if (!video.error) source.stopped = !video.ended;
  });
  players.add(video);
  source.open(videoAddress(mediaId));
  return box;
}

/** A preview: its clips one after another, with its texts above them. */
export function playPreview(projectId, label) {
  const box = element("div", { class: "screen" }, element("p", { class: "quiet" }, "Loading…"));
  previewOf(projectId).then(
    (view) => {
      const preview = new Preview(projectId, view, label);
      players.add(preview);
      box.replaceChildren(preview.root);
      preview.start();
    },
    (error) => {
      if (!(error instanceof Refused)) throw error;
      box.replaceChildren(problemBox(error.problem));
    },
  );
  return box;
}

class Preview {
  constructor(projectId, view, label) {
    this.projectId = projectId;
    this.clips = view.clips;
    this.captions = view.captions;
    this.seconds = view.seconds ?? 0;
    this.playing = false;
    this.place = -1;
    this.screens = [0, 1].map(() => this.screen());
    this.front = 0;
    this.image = element("img", { alt: "", hidden: true });
    this.texts = element("div", { class: "texts" });
    this.button = element("button", { type: "button", onclick: () => this.toggle() }, "Pause");
    this.slider = element("input", {
      type: "range",
      min: "0",
      max: String(this.seconds || 1),
      step: "0.1",
      value: "0",
      "aria-label": `Position in ${label}`,
      oninput: () => this.seek(Number(this.slider.value)),
    });
    this.clock = element("span", { class: "quiet clock" });
    this.stage = element(
      "div",
      { class: "stage", "data-place": "-1" },
      this.screens.map((screen) => screen.video),
      this.image,
      this.texts,
    );
    this.root = element(
      "div",
      { class: "preview", role: "group", "aria-label": label },
      this.stage,
      element("div", { class: "controls" }, this.button, this.slider, this.clock),
      element(
        "p",
        { class: "quiet note" },
        "An approximation: the source clips and texts, without effects, transitions, music and " +
          "spoken text.",
      ),
    );
  }

  screen() {
    const video = element("video", { playsinline: true, preload: "auto", hidden: true });
    const screen = { video, place: -1 };
    screen.source = new Source(video, (problem) => {
      this.pause();
      this.stage.append(problemBox(problem));
    });
    video.addEventListener("ended", () => {
      if (this.screens[this.front] === screen && this.playing) this.next();
    });
    return screen;
  }

  start() {
    this.playing = true;
    quieten(this);
    this.show(0, 0);
    this.tick();
  }

  toggle() {
    if (this.playing) {
      this.pause();
    } else {
      quieten(this);
      this.playing = true;
      this.button.textContent = "Pause";
      if (this.place < 0 || this.place >= this.clips.length) this.show(0, 0);
      else this.resume();
      this.tick();
    }
  }

  pause() {
    this.playing = false;
    this.button.textContent = "Play";
    for (const { video } of this.screens) video.pause();
  }

  resume() {
    const clip = this.clips[this.place];
    if (clip.is_image) this.since = performance.now() - (this.at - clip.start) * 1000;
    else this.screens[this.front].video.play().catch(() => {});
  }

  seek(at) {
    let place = this.clips.findIndex((clip) => clip.end !== null && at < clip.end);
    if (place < 0) place = this.clips.length - 1;
    this.show(place, Math.max(0, at - this.clips[place].start));
  }

  /** Show a clip from some seconds after its beginning. */
  show(place, into) {
    const clip = this.clips[place];
    this.place = place;
    this.stage.dataset.place = String(place);
    this.at = clip.start + into;
    for (const { video } of this.screens) video.pause();
    if (clip.is_image) {
      this.image.src = clipAddress(this.projectId, clip.place);
      this.since = performance.now() - into * 1000;
    } else {
      const ready = this.screens.findIndex((screen) => screen.place === place && into === 0);
      this.front = ready >= 0 ? ready : this.front;
      const screen = this.screens[this.front];
      if (ready >= 0) {
        if (this.playing) screen.video.play().catch(() => {});
        screen.source.plays = this.playing;
      } else {
        this.fill(screen, place, into, this.playing);
      }
      screen.place = -1; // it moves on from its beginning now
    }
    this.image.hidden = !clip.is_image;
    this.screens.forEach(({ video }, number) => {
      video.hidden = clip.is_image || number !== this.front;
    });
    this.prepare(place + 1);
    this.draw();
  }

  fill(screen, place, into, play) {
    const clip = this.clips[place];
    screen.source.open(clipAddress(this.projectId, clip.place), clip.begin + into, play);
    screen.place = place;
  }

  /** Load the next clip behind the one that plays. */
  prepare(place) {
    const clip = this.clips[place];
    const behind = this.screens[1 - this.front];
    if (clip && !clip.is_image && behind.place !== place) this.fill(behind, place, 0, false);
  }

  next() {
    if (this.place + 1 < this.clips.length) {
      this.show(this.place + 1, 0);
    } else {
      this.pause();
      this.place = -1;
      this.at = this.seconds;
      this.draw();
    }
  }

  tick() {
    if (!this.playing || !this.root.isConnected) return;
    const clip = this.clips[this.place];
    const { video } = this.screens[this.front];
    if (clip.is_image) this.at = clip.start + (performance.now() - this.since) / 1000;
    else if (video.readyState > 1 && !video.seeking) {
      this.at = clip.start + Math.max(0, video.currentTime - clip.begin);
    }
    if (clip.end !== null && this.at >= clip.end) this.next();
    this.draw();
    requestAnimationFrame(() => this.tick());
  }

  draw() {
    const now = this.at;
    this.slider.value = String(now);
    this.clock.textContent = `${length(now)} / ${length(this.seconds)}`;
    const shown = this.captions.filter(
      ({ start, end }) => now >= start && (end === null || now < end),
    );
    const key = shown.map(({ text }) => text).join("\n");
    if (this.texts.dataset.key === key) return;
    this.texts.dataset.key = key;
    this.texts.replaceChildren(
      ...shown.map((caption) => {
        const line = element("p", {}, caption.text);
        line.style.top = `${Math.round((caption.y ?? 0.78) * 100)}%`;
        return line;
      }),
    );
  }
}
