import { builtinModules } from 'node:module';
import tseslint from 'typescript-eslint';

// The rooms, top to bottom: each may import only from those below it, not from its neighbours on the row. A name with
// .ts is a file beside the folders. digest.ts, errors.ts, native.ts, random.ts and signal.ts are below them all, index.ts is above.
const rows = [
  ['cli', 'cni', 'oci'],
  ['overlay', 'trace', 'topology'],
  ['plumb'],
  ['localhost'],
  ['lab'],
  ['guest'],
  ['primitive'],
  ['transaction'],
  ['operation'],
  ['state'],
  ['kernel'],
  ['check.ts'],
  ['wire'],
];
const rooms = rows.flat();

const builtins = builtinModules.filter((name) => !name.startsWith('_'));
const bare = { regex: `^(${builtins.join('|')})(/.*)?$`, message: 'Write node: before the names of built-in modules.' };
const self = { regex: '^podtap(/.*)?$', message: 'The library imports its own files by path.' };
const processes = { regex: '^node:child_process$', message: 'Only kernel/netns and lab/unprivileged start programs.' };
const loader = {
  regex: '^bindings$|/native\\.js$',
  message: 'Only kernel/ and native.ts reach for the addon, and only native.ts loads it.',
};
const modules = { regex: '^node:module$', message: 'Only native.ts calls require().' };

/**
 * A pattern for imports of these rooms, from a folder beside them or from lib/ itself.
 * @param {string[]} names
 */
function within(names) {
  const parts = names.map((name) => (name.endsWith('.ts') ? name.replace('.ts', '\\.js$') : `${name}/`));
  return `^\\.{1,2}/(\\.\\./)*(${parts.join('|')})`;
}

/** @param {string} room */
function roomRule(room) {
  const row = rows.findIndex((names) => names.includes(room));
  const above = rows.slice(0, row + 1).flat();
  const others = ['index.ts', ...above.filter((name) => name !== room)];
  const patterns = [
    bare,
    self,
    modules,
    { regex: within(others), message: `${room} may import only from the rooms below it.` },
    room === 'kernel' ? { ...loader, regex: '^bindings$' } : loader,
    ...(room === 'wire' ? [{ regex: '^node:', message: 'wire/ is pure.' }] : []),
    ...(room === 'guest' ? [{ regex: '^node:', message: 'guest/ is pure.' }] : []),
  ];
  const doors = { kernel: ['lib/kernel/netns*', 'lib/kernel/netns/**'], lab: ['lib/lab/unprivileged*'] }[room] ?? [];
  const files = room.endsWith('.ts') ? `lib/${room}` : `lib/${room}/**/*.ts`;
  return [restrict([files], [...patterns, processes]), ...(doors.length > 0 ? [restrict(doors, patterns)] : [])];
}

/**
 * @param {string[]} files
 * @param {{ regex: string, message: string }[]} patterns
 */
function restrict(files, patterns) {
  return { files, rules: { 'no-restricted-imports': ['error', { patterns }] } };
}

const everyRoom = { regex: within(rooms), message: 'digest.ts, errors.ts, native.ts, random.ts and signal.ts are below every room.' };

// A dynamic import or require() would get around the order of the rooms.
const imports = { selector: 'ImportExpression', message: 'Import statically: the order of the rooms is checked there.' };
const builtin = {
  selector: "MemberExpression[property.name='getBuiltinModule']",
  message: 'Import; only kernel/netns and digest spare every program what is slow to load and seldom needed.',
};

export default tseslint.config(
  { ignores: ['**/node_modules/', 'dist/', 'build/', 'build-cmake/', 'cache/', 'prebuilds/', '.tap/'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/require-await': 'off', // async turns a throw into a rejection
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      eqeqeq: ['error', 'always'],
    },
  },
  {
    files: ['lib/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', imports, builtin], '@typescript-eslint/no-require-imports': 'error' },
  },
  { files: ['lib/digest.ts', 'lib/kernel/netns*', 'lib/kernel/netns/**'], rules: { 'no-restricted-syntax': ['error', imports] } },
  restrict(['lib/*.ts'], [bare, self, processes, modules, loader, everyRoom]),
  restrict(['lib/index.ts'], [bare, self, processes, modules, loader]),
  restrict(['lib/native.ts'], [bare, self, processes, everyRoom]),
  rooms.flatMap(roomRule),
);
