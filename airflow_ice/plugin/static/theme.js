// The theme of the page is Airflow's own. Airflow marks its root element with the class `dark` or
// `light` (next-themes), and this page is framed by it, on the same origin.

function frame() {
  try {
    return window.parent !== window ? window.parent.document.documentElement : null;
  } catch {
    return null; // framed by someone else
  }
}

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function isDark(outer) {
  if (outer?.classList.contains("dark")) return true;
  if (outer?.classList.contains("light")) return false;
  const theme = stored();
  if (theme === "dark" || theme === "light") return theme === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

export function followTheme() {
  const outer = frame();
  const apply = () => {
    const root = document.documentElement;
    root.dataset.theme = isDark(outer) ? "dark" : "light";
    const back = outer ? getComputedStyle(outer.ownerDocument.body).backgroundColor : "";
    // The page lies on Airflow's own ground, whatever a deployment's theme makes of it.
    if (/^rgb\(/.test(back)) root.style.setProperty("--back", back);
    else root.style.removeProperty("--back");
  };
  apply();
  if (outer) {
    new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class"] });
  }
  window.addEventListener("storage", apply);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
}
