const MAGICS: [name: string, bytes: string | number[]][] = [
  ['a Git LFS pointer, not the file itself; run `git lfs pull`', 'version https://git-lfs'],
  ['a zip archive (or a PyTorch checkpoint)', 'PK\u0003\u0004'],
  ['gzip data', [0x1f, 0x8b]],
  ['zstd data', [0x28, 0xb5, 0x2f, 0xfd]],
  ['a GGUF file', 'GGUF'],
  ['an HDF5 (Keras) file', [0x89, 0x48, 0x44, 0x46]],
  ['a numpy file', [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]],
  ['a PDF', '%PDF-'],
  ['an ELF program', [0x7f, 0x45, 0x4c, 0x46]],
];

/**
 * Names what a file is, in words that end "it is …", when its first bytes (some 512) show that it is no ONNX
 * model; undefined when nothing speaks against it. An ONNX file begins with protobuf field 1 (byte 0x08), but a
 * writer may order fields otherwise, so only known others are refused here.
 */
export function sniffFormat(head: Uint8Array): string | undefined {
  if (head.length === 0) return 'an empty file';
  const bytes = Buffer.from(head);
  for (const [name, magic] of MAGICS) {
    const wanted = typeof magic === 'string' ? Buffer.from(magic, 'latin1') : Buffer.from(magic);
    if (bytes.subarray(0, wanted.length).equals(wanted)) return name;
  }
  // Pickle protocols 2 to 5: PROTO opcode, version.
  if (bytes[0] === 0x80 && (bytes[1] ?? 0) >= 2 && (bytes[1] ?? 0) <= 5) return 'a Python pickle';
  // FlatBuffers carry their identifier at byte 4.
  const identifier = bytes.subarray(4, 8).toString('latin1');
  if (identifier === 'ORTM') return 'an ORT-format file';
  if (identifier === 'TFL3') return 'a TensorFlow Lite file';
  // Safetensors: 8 bytes of length, then JSON.
  if (bytes.subarray(8, 10).toString('latin1') === '{"') return 'a safetensors file';
  const text = bytes.toString('utf8').trimStart().toLowerCase();
  if (text.startsWith('<!doctype html') || text.startsWith('<html')) {
    return 'an HTML page (a login or error page of the server?)';
  }
  if (text.startsWith('<?xml')) return 'XML (an error answer of an object store?)';
  if (text.startsWith('{') && /^\{\s*["}]/.test(text)) return 'JSON';
  return undefined;
}
