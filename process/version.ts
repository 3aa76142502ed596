/** Of all programs: they are released together. A bundle has no package.json to read it from. */
export const VERSION = '0.1.0';
