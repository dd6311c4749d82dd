// Elements and words. Text always goes in as text: whatever a reply holds, it never becomes markup.

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Seconds as "12.5 s", "1 min 05 s", "1 h 02 min". */
export function length(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** Whole seconds, for a clock that runs: tenths would flicker. */
export function passed(seconds) {
  return length(Math.floor(seconds));
}

/** Bytes as "3.4 MB". */
export function size(bytes) {
  if (!bytes) return "";
  const units = ["B", "kB", "MB", "GB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** Say something to a person who looks, and to one who listens. */
export function say(words) {
  const place = document.getElementById("said");
  place.textContent = words;
  place.classList.add("shown");
  clearTimeout(place.timer);
  place.timer = setTimeout(() => place.classList.remove("shown"), 3000);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A frame may not have the clipboard; the old way works there.
    const area = element("textarea", { class: "off-screen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`Copied ${what}.`);
}

/** An id with a button that copies it. */
export function identifier(label, text) {
  return element(
    "span",
    { class: "id" },
    element("span", { class: "quiet" }, `${label} `),
    element("code", {}, text),
    element(
      "button",
      {
        type: "button",
        class: "plain",
        "aria-label": `Copy ${label} ${text}`,
        title: `Copy ${label}`,
        onclick: () => copy(text, label),
      },
      "Copy",
    ),
  );
}

export function problemBox(problem, keeps) {
  return element(
    "div",
    { class: "problem", role: "alert" },
    element("strong", {}, problem.title),
    element("p", {}, problem.detail),
    keeps ? element("p", { class: "quiet" }, keeps) : null,
  );
}
