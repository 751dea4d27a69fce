/** Words of a command line, as a POSIX shell reads them. IEEE 1003.1, 2.2.2. */
export function shell(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ');
}
