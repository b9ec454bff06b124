// Verifies one entry's proof in the reader's own browser. Progressive only: without it the files and the command do.
// Reads what the page carries and asks nobody; without WebCrypto (plain http) it stays hidden.
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const hex = data => [...data].map(b => b.toString(16).padStart(2, "0")).join("");
const same = (a, b) => a.length === b.length && a.every((v, i) => v === b[i]);
const join = (...parts) => new Uint8Array(parts.flatMap(part => [...part]));
const sha256 = async (...parts) => new Uint8Array(await crypto.subtle.digest("SHA-256", join(...parts)));
const node = (left, right) => sha256([1], left, right);

class Refused extends Error {}
const need = (is, why) => { if (!is) throw new Refused(why); };

// C2SP tlog-proof@v1: header, optional extra, index, hashes, blank line, checkpoint note.
function parse(text) {
  const cut = text.indexOf("\n\n"), lines = text.slice(0, cut).split("\n"), note = text.slice(cut + 2);
  need(cut > 0 && lines.shift() === "c2sp.org/tlog-proof@v1", "format");
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const index = /^index (0|[1-9][0-9]*)$/.exec(lines.shift() ?? "");
  const end = note.indexOf("\n\n"), body = note.slice(0, end + 1), head = body.split("\n");
  need(index && end > 0 && /^[1-9][0-9]*$/.test(head[1]), "format");
  return {
    index: BigInt(index[1]), hashes: lines.map(bytes), body, origin: head[0], size: BigInt(head[1]), root: bytes(head[2]),
    lines: note.slice(end + 2).split("\n").filter(Boolean),
  };
}

// RFC 9162 section 2.1.3.2.
async function climb(leaf, { index, size, hashes }) {
  need(index < size, "format");
  let place = index, last = size - 1n, found = await sha256([0], leaf);
  for (const sibling of hashes) {
    need(last > 0n, "root");
    if (place & 1n || place === last) {
      found = await node(sibling, found);
      while (place && !(place & 1n)) { place >>= 1n; last >>= 1n; }
    } else found = await node(found, sibling);
    place >>= 1n; last >>= 1n;
  }
  need(last === 0n, "root");
  return found;
}

// A verifier key is name+id+base64(01 || key); the id binds the name to the key.
async function keyOf(text) {
  const [name, id, ...rest] = text.split("+"), material = bytes(rest.join("+"));
  const known = await sha256(new TextEncoder().encode(`${name}\n`), material);
  need(material[0] === 1 && hex(known.slice(0, 4)) === id, "signature");
  return { name, id: known.slice(0, 4), raw: material.slice(1) };
}

// True or false; null where this browser has no Ed25519.
async function isSigned(proof, keys) {
  const body = new TextEncoder().encode(proof.body);
  for (const key of await Promise.all(keys.map(keyOf))) {
    const line = proof.lines.find(each => each.startsWith(`— ${key.name} `) && same(bytes(each.split(" ")[2]).slice(0, 4), key.id));
    if (!line || key.name !== proof.origin) continue;
    let imported;
    try { imported = await crypto.subtle.importKey("raw", key.raw, "Ed25519", false, ["verify"]); } catch { return null; }
    if (await crypto.subtle.verify("Ed25519", imported, bytes(line.split(" ")[2]).slice(4), body)) return true;
  }
  return false;
}

async function verify({ leaf, proof: text, keys, root }) {
  const proof = parse(text), entry = new TextEncoder().encode(document.getElementById(leaf).textContent);
  need(same(await climb(entry, proof), proof.root) && hex(proof.root) === root, "root");
  const signed = await isSigned(proof, keys.split("\n").map(key => key.trim()).filter(Boolean));
  need(signed !== false, "signature");
  return { proof, signed };
}

if (globalThis.crypto?.subtle) for (const box of document.querySelectorAll("[data-verify]")) {
  const said = box.querySelector("[role=status]"), words = box.dataset;
  box.hidden = false;
  box.querySelector("button").addEventListener("click", async () => {
    said.className = "verify-said";
    try {
      const { proof, signed } = await verify(words);
      said.textContent = (signed ? words.signed : words.unsigned).replace("{size}", proof.size).replace("{origin}", proof.origin);
      said.classList.add(signed ? "ok" : "warn");
    } catch (error) {
      const why = { root: words.whyRoot, signature: words.whySignature }[error.message] ?? words.whyFormat;
      said.textContent = words.failed.replace("{why}", why);
      said.classList.add("bad");
    }
  });
}
