// Shows how far an export has come. Progressive only: without it the form answers with a plain download.
// Counts the lines that arrive: the entries are the first file of the ZIP, uncompressed, one a line.
const MOST = 512 * 1024 * 1024; // what is kept in the browser until it is saved; more goes the plain way
const BAR = 100, KIB = 1024;
const word = size => size < KIB * KIB ? `${(size / KIB).toFixed(1)} KB` : `${(size / KIB / KIB).toFixed(1)} MB`;

for (const form of document.querySelectorAll("form[data-download]")) form.addEventListener("submit", async event => {
  const words = form.dataset, box = document.getElementById(words.download), button = form.querySelector("[type=submit]");
  if (Number(words.bytes) > MOST) return;
  event.preventDefault();
  const said = box.querySelector("[role=status]"), meter = box.querySelector("[role=progressbar]"), bar = box.querySelector("rect.p");
  const show = (entries, total, size) => {
    const percent = total ? Math.min(BAR, Math.floor(BAR * entries / total)) : 0;
    bar.setAttribute("width", percent); meter.setAttribute("aria-valuenow", percent);
    return words.progress.replace("{done}", entries.toLocaleString()).replace("{total}", total.toLocaleString()).replace("{size}", word(size));
  };
  const end = (text, state) => { said.textContent = text; box.querySelector("svg").setAttribute("class", `bar ${state}`); button.disabled = false; };
  const counted = box.querySelector("[data-count]");
  button.disabled = true; box.hidden = false; said.textContent = words.started; box.querySelector("svg").setAttribute("class", "bar");
  let lines = 0, size = 0, total = 0;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), redirect: "error" });
    if (!answer.ok || !answer.headers.get("Content-Type")?.startsWith("application/zip")) { button.disabled = false; return form.submit(); } // the page says what is wrong
    total = Number(answer.headers.get("X-Export-Entries"));
    const parts = [], reader = answer.body.getReader();
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
      parts.push(value); size += value.length;
      for (let at = value.indexOf(10); at >= 0; at = value.indexOf(10, at + 1)) lines++;
      counted.textContent = show(Math.min(lines, total), total, size);
    }
    if (lines < total) throw new Error("cut");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(parts, { type: "application/zip" }));
    link.download = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "audit.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    counted.textContent = show(total, total, size);
    end(words.done, "done");
  } catch {
    end(words.broken, "failed");
  }
});
