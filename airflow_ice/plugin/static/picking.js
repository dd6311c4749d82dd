// A person who picks: which cards are ticked, what that costs, and the answer, which goes to
// Airflow's own HITL API with its checks.

import { count, element, problemBox, say } from "./elements.js";
import { answer, readQuestion, Refused } from "./service.js";

const SURE_FOR = 6000; // ms in which a second press rejects all

export class Picking {
  constructor(redraw) {
    this.redraw = redraw;
    this.ticked = new Set();
    this.question = null;
    this.problem = null;
  }

  async read(view) {
    this.view = view;
    try {
      this.question = await readQuestion();
      this.problem = null;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.problem = error.status === 404 ? null : error.problem;
    }
  }

  /** Whether an answer is still possible. */
  get open() {
    return Boolean(this.question) && !this.question.response_received;
  }

  heading() {
    const { question, view } = this;
    const parts = [
      element("h1", {}, question?.subject ?? "Which videos?"),
      view.body ? element("p", { class: "body" }, view.body) : null,
    ];
    if (question?.response_received) {
      const chosen = question.chosen_options ?? [];
      const none = chosen.includes(view.none);
      const who = question.responded_by_user?.name ?? "Airflow, when the time was over";
      parts.push(
        element(
          "p",
          { class: "state" },
          none ? `${who} picked none of them.` : `${who} picked ${count(chosen.length, "video")}.`,
        ),
      );
    } else if (!question && !this.problem) {
      parts.push(element("p", { class: "quiet" }, "The task does not ask yet."));
    }
    return parts.filter(Boolean);
  }

  of(video) {
    const chosen = this.question?.response_received
      ? new Set(this.question.chosen_options ?? [])
      : this.ticked;
    return { picking: true, picked: chosen.has(video.option), locked: !this.open || this.sending };
  }

  tick(video, on) {
    if (!this.question?.multiple) this.ticked.clear();
    if (on) this.ticked.add(video.option);
    else this.ticked.delete(video.option);
    this.redraw();
  }

  drawBar(place) {
    if (!this.bar) {
      this.words = element("p", { "aria-live": "polite" });
      this.submit = element("button", {
        type: "button",
        class: "primary",
        onclick: () => this.send([...this.ticked]),
      });
      this.all = element("button", { type: "button", onclick: () => this.tickAll() });
      this.reject = element("button", {
        type: "button",
        class: "plain",
        onclick: () => this.rejectAll(),
      });
      this.trouble = element("div");
      const buttons = element("div", { class: "buttons" }, this.submit, this.all, this.reject);
      this.bar = element("div", { class: "picks" }, this.trouble, this.words, buttons);
    }
    this.trouble.replaceChildren(...(this.problem ? [problemBox(this.problem)] : []));
    place.replaceChildren(...(this.open || this.problem ? [this.bar] : []));
    const number = this.ticked.size;
    const { billed, videos, none } = this.view;
    const bill = number === 1 ? "It is rendered and billed." : "Each is rendered and billed.";
    this.words.textContent =
      `${number} of ${count(videos.length, "video")} picked.` +
      (number && billed ? ` ${bill}` : "");
    this.submit.textContent = number
      ? `${billed ? "Render" : "Use"} ${count(number, "video")}`
      : "Pick at least one";
    this.submit.disabled = !number || Boolean(this.sending);
    this.all.textContent = number === videos.length ? "Untick all" : "Tick all";
    this.all.hidden = !this.question?.multiple;
    this.reject.hidden = !none;
    this.reject.disabled = number > 0 || Boolean(this.sending);
    this.reject.textContent = this.sure ? "Really none? Press again" : "None of these";
  }

  tickAll() {
    const all = this.view.videos.map((video) => video.option);
    this.ticked = new Set(this.ticked.size === all.length ? [] : all);
    this.redraw();
  }

  rejectAll() {
    if (this.sure) {
      this.send([this.view.none]);
      return;
    }
    this.sure = setTimeout(() => {
      this.sure = null;
      this.redraw();
    }, SURE_FOR);
    this.redraw();
  }

  async send(options) {
    this.sending = true;
    this.redraw();
    try {
      await answer(options);
      say("Thank you. The run goes on.");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.refusal = error.problem;
    }
    await this.read(this.view);
    this.problem = this.refusal ?? this.problem;
    this.refusal = null;
    this.sending = false;
    document.dispatchEvent(new Event("answered"));
    this.redraw();
  }
}
