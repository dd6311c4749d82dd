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

// The colour on which Airflow's page lies here: that of the nearest element around the frame that
// has one. Which element that is differs between Airflow's views and versions.
function ground() {
  for (let around = frame() && window.frameElement; around; around = around.parentElement) {
    const back = getComputedStyle(around).backgroundColor;
    if (/^rgb\(/.test(back)) return back;
  }
  return "";
}

export function followTheme() {
  const outer = frame();
  const apply = () => {
    const root = document.documentElement;
    root.dataset.theme = isDark(outer) ? "dark" : "light";
    const back = ground();
    // The page lies on Airflow's own ground, whatever a deployment's theme makes of it.
    if (back) root.style.setProperty("--back", back);
    else root.style.removeProperty("--back");
  };
  apply();
  if (outer) {
    new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class"] });
  }
  window.addEventListener("storage", apply);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
}
