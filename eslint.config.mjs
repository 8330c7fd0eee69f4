import tseslint from 'typescript-eslint';

export default tseslint.config(
  {
    ignores: [
      'node_modules/',
      'dist/',
      'build*/',
      'test/fixtures/consumer/',
      '**/.types/',
      '.tap/',
      'eslint.config.mjs',
    ],
  },
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: 'tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // With noUncheckedIndexedAccess every a[i] may be undefined to the compiler; in loops over numbers `!` is the
      // answer.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // It recurses without end over types that contain themselves (typescript-eslint 8.74).
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      'max-len': [
        'error',
        { code: 120, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true, ignoreUrls: true },
      ],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', destructuredArrayIgnorePattern: '^_' },
      ],
    },
  },
  {
    // To the compiler these are what the .d.mts beside them declares: no types without their own text.
    files: ['scripts/{compile-rule,cuda,doctor,load,paths,record,setup-error}.mjs'],
    ...tseslint.configs.disableTypeChecked,
    languageOptions: { parserOptions: { project: false, program: null } },
  },
  {
    // Plain JavaScript has no `!`, so what comes out of an array of numbers is `any` there.
    files: ['bench/*.mjs'],
    rules: Object.fromEntries(
      ['no-unsafe-argument', 'no-unsafe-assignment', 'no-unsafe-call', 'no-unsafe-member-access', 'no-unsafe-return']
        .concat('restrict-plus-operands')
        .map((rule) => [`@typescript-eslint/${rule}`, 'off']),
    ),
  },
  {
    files: ['test/**'],
    rules: {
      // tap collects its own subtests; what is asserted asynchronously (t.rejects) is still to be awaited.
      '@typescript-eslint/no-floating-promises': [
        'error',
        { allowForKnownSafeCalls: [{ from: 'package', package: '@tapjs/test', name: 'test' }] },
      ],
      '@typescript-eslint/require-await': 'off', // an async test reads as one, whether it waits or not
    },
  },
);
