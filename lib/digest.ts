/** SHA-256. node:crypto is not imported for it: that would be a tenth of an import of podtap, for what many a process never asks for. */
export function sha256(data: string | Uint8Array): Buffer {
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(data).digest();
}
