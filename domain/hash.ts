/**
 * A number below 2^32 for a word: the same everywhere and always, spread evenly. Not for secrets.
 *
 * FNV-1a (32 bit) and the finaliser of MurmurHash3. Without the latter `store-000` to `store-009` stay neighbours,
 * because the last character of an id only reaches the top byte. Changing this reshuffles the stages of every fleet.
 */
export function hashOf(word: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < word.length; i += 1) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
