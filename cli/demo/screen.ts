import { createStyle, type Style, wantsColour } from '../core/style.ts';
import { isTerminal, print, withProgress } from '../terminal.ts';

/** What the demonstration says: numbered steps with lines below them, calm on a terminal and plain in a pipe. */
export interface Screen {
  readonly style: Style;
  /** Whether to draw: in a pipe bars and pictures are in the way. */
  readonly draws: boolean;
  title(text: string): Promise<void>;
  step(text: string): Promise<void>;
  line(text: string): Promise<void>;
  /** The title of the step that runs, for a message when it fails. */
  currentStep(): string;
  waitFor<Result>(text: string, work: Promise<Result>): Promise<Result>;
}

const INDENT = '     ';

export function createScreen(): Screen {
  const draws = isTerminal();
  const style = createStyle(wantsColour(process.env, draws));
  let number = 0;
  let current = 'start';
  return {
    style,
    draws,
    title: (text) => print(`\n  ${text}\n`),
    step: (text) => {
      number++;
      current = text;
      return print(`\n  ${style.dim(String(number).padStart(1))}  ${style.bold(text)}\n`);
    },
    line: (text) => print(`${INDENT}${text}\n`),
    currentStep: () => current,
    // In a pipe a step's own lines say enough.
    waitFor: (text, work) => (draws ? withProgress(text, work) : work),
  };
}
