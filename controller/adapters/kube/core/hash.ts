/**
 * Hashes of texts for choices and comparisons within the controller; not for anything that an attacker gains by
 * a collision.
 */

/** 32 bits: FNV-1a over UTF-16 code units, then the finaliser of MurmurHash3, so that each bit of input counts. */
export function hash32(text: string, seed = 0): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** 64 bits in 16 hexadecimal digits. */
export function hashText(text: string): string {
  const first = hash32(text);
  // The second half starts from the first, so that texts that collide in one seldom do in the other.
  const second = hash32(`${text.length}:${text}`, first);
  return first.toString(16).padStart(8, '0') + second.toString(16).padStart(8, '0');
}
