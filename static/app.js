// Progressive enhancement only: without it every form still posts and the server renders the same answers.
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];

for (const form of $$("[data-theme-toggle]")) form.addEventListener("submit", e => {
  e.preventDefault();
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax${secure}`; // the server reads it: no flash
});

for (const b of $$("[data-reveal]")) {
  b.hidden = false;
  b.addEventListener("click", () => {
    const input = document.getElementById(b.dataset.reveal), show = input.type === "password";
    input.type = show ? "text" : "password"; b.setAttribute("aria-pressed", show); $("span", b).textContent = show ? b.dataset.hide : b.dataset.show;
  });
}

if (navigator.clipboard) for (const b of $$("[data-copy]")) {
  b.hidden = false;
  b.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(b.dataset.copy).textContent.trim());
    $("[data-copied]", b.parentElement).textContent = b.dataset.done;
  });
}

// Menus are <details>: they open without this; here they also close on Escape and on a click elsewhere.
const menus = () => $$("details[data-menu][open]");
document.addEventListener("click", e => { for (const m of menus()) if (!m.contains(e.target)) m.open = false; });
document.addEventListener("keydown", e => { if (e.key === "Escape") for (const m of menus()) { m.open = false; $("summary", m).focus(); } });

// A select that filters a list needs no button when it can submit itself.
for (const s of $$("[data-autosubmit]")) s.addEventListener("change", () => s.form.requestSubmit());

// A running job's page reloads while it is looked at; without this a <noscript> refresh does.
const live = $("[data-refresh]");
if (live) setInterval(() => { if (!document.hidden && !menus().length) location.reload(); }, live.dataset.refresh * 1000);

const form = $("[data-scope-form]");
if (form) {
  const scopes = $$("input[name=scope]", form), presets = $$("input[name=preset]", form);
  const levels = $$("template[data-level]", form).map(t => t.dataset), list = $("[data-can-list]", form), submit = $("[data-submit]", form);
  const of = (n, total) => form.dataset.of.replace("{n}", n).replace("{total}", total);
  const out = (name, value) => { const el = $(`[data-out="${name}"]`, form); if (el) el.textContent = value || "–"; };
  const put = (sel, value) => { for (const el of $$(sel, form)) el.textContent = value; };
  const line = s => {
    const li = document.createElement("li"), risk = +s.dataset.risk, text = document.createElement("span");
    li.className = risk >= 3 ? "risky" : risk === 2 ? "mid" : "yes";
    text.textContent = s.dataset.can;
    li.append($(risk >= 3 ? "template[data-risky]" : "template[data-yes]", form).content.cloneNode(true), text);
    return li;
  };
  const render = () => {
    const on = scopes.filter(s => s.checked), level = Math.max(0, ...on.map(s => +s.dataset.risk)), words = levels[level];
    put("[data-risk-label]", words.label); put("[data-risk-text]", words.text); put("[data-granted]", of(on.length, scopes.length));
    for (const m of $$("[data-meter]", form)) m.dataset.level = level;
    for (const el of $$(".notice[data-critical]", form)) el.hidden = level < 4;
    submit.textContent = level < 4 ? submit.dataset.usual : submit.dataset.critical;
    list.replaceChildren(...[...on].sort((a, b) => b.dataset.risk - a.dataset.risk).map(line));
    for (const g of $$("[data-group]", form)) { const all = $$("input", g); $("[data-group-count]", g).textContent = of(all.filter(i => i.checked).length, all.length); }
    const chosen = on.map(s => s.value).sort().join(" ");
    for (const p of presets) p.checked = p.dataset.scopes.split(" ").sort().join(" ") === chosen;
  };
  const shown = el => el.tagName === "SELECT" ? el.selectedOptions[0]?.textContent : el.type === "radio" ? el.dataset.label ?? el.closest("label").textContent.trim() : el.value;
  form.addEventListener("change", e => {
    if (e.target.name === "preset") { const want = new Set(e.target.dataset.scopes.split(" ")); for (const s of scopes) s.checked = want.has(s.value); }
    render();
  });
  form.addEventListener("input", e => { if ($(`[data-out="${e.target.name}"]`, form)) out(e.target.name, shown(e.target)); });
  render();
}
