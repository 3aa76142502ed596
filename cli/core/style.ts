/** Colours for a terminal, or, in a pipe, none: each function returns its text as it is. */
export interface Style {
  readonly isColoured: boolean;
  bold(text: string): string;
  dim(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  red(text: string): string;
  cyan(text: string): string;
}

const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  green: [32, 39],
  yellow: [33, 39],
  red: [31, 39],
  cyan: [36, 39],
} as const;

/** `coloured: false` for a pipe, a file, or a person who set NO_COLOR (https://no-color.org). */
export function createStyle(coloured: boolean): Style {
  const paint =
    (name: keyof typeof CODES) =>
    (text: string): string =>
      coloured && text !== '' ? `\u001B[${CODES[name][0]}m${text}\u001B[${CODES[name][1]}m` : text;
  return {
    isColoured: coloured,
    bold: paint('bold'),
    dim: paint('dim'),
    green: paint('green'),
    yellow: paint('yellow'),
    red: paint('red'),
    cyan: paint('cyan'),
  };
}

/** Whether to colour: NO_COLOR wins when it is set to anything, FORCE_COLOR comes next, then the terminal. */
export function wantsColour(
  environment: Readonly<Record<string, string | undefined>>,
  isTerminal: boolean,
): boolean {
  const { NO_COLOR: none, FORCE_COLOR: force, TERM: term } = environment;
  if (none !== undefined && none !== '') return false;
  if (force !== undefined && force !== '') return force !== '0';
  return isTerminal && term !== 'dumb';
}
