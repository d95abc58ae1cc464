"use strict";
// The files of a folder that was chosen or dropped, in batches.

const BATCH_FILES = 40, BATCH_BYTES = 8 * 1024 * 1024;
const IGNORED = new Set(["Thumbs.db", "desktop.ini", "__MACOSX"]); // systems put them beside images

const number = (value) => value.toLocaleString("en");
const sized = (bytes) => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${number(Number((bytes / 1e6).toFixed(1)))} MB`;
const counted = (count, noun, several = `${noun}s`) => `${number(count)} ${count === 1 ? noun : several}`;

// Each file with its path, which begins with the name of what was dropped.
async function droppedFiles(entries) {
  const found = [];
  const walk = async (entry, folders) => {
    const path = [...folders, entry.name];
    if (entry.isFile) {
      const file = await new Promise((give, fail) => entry.file(give, fail)).catch(() => null);
      found.push({ file, path });
      return;
    }
    const reader = entry.createReader();
    for (;;) { // it gives a hundred at a time, and none at the end
      const some = await new Promise((give, fail) => reader.readEntries(give, fail)).catch(() => null);
      if (!some) found.push({ file: null, path });
      if (!some?.length) return;
      for (const one of some) await walk(one, path);
    }
  };
  for (const entry of entries) await walk(entry, []);
  return found;
}

function batchesOf(files) {
  const batches = [];
  let size = Infinity;
  for (const one of files) {
    if (size + one.file.size > BATCH_BYTES || batches.at(-1).length === BATCH_FILES) {
      batches.push([]);
      size = 0;
    }
    batches.at(-1).push(one);
    size += one.file.size;
  }
  return batches;
}

const sizeOf = (files) => files.reduce((sum, one) => sum + one.file.size, 0);

// Whether a file is still as it was when it was chosen.
async function isReadable(one) {
  try { await one.file.slice(0, 1).arrayBuffer(); return true; } catch { return false; }
}
