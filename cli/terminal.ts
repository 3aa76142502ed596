import { isatty } from 'node:tty';
import { createStyle, type Style, wantsColour } from './core/style.ts';

/** Whether a person watches standard output; what goes into a pipe is for programs. */
export const isTerminal = (): boolean => isatty(1);

export const outputStyle = (): Style => createStyle(wantsColour(process.env, isTerminal()));

export const errorStyle = (): Style => createStyle(wantsColour(process.env, isatty(2)));

/** Writes to standard output and waits until it is taken, so that a long answer into a pipe isn't cut at the end. */
export async function print(text: string | Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

export const printLine = (text: string): Promise<void> => print(`${text}\n`);

export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** A reader such as `head` that has seen enough closes the pipe: that is its good right, not a failure. */
export function endQuietlyOnClosedPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

/** Before this nobody notices that they wait. */
const QUIET_MS = 250;
/** In a pipe a line is worth it only for a wait that somebody would ask about. */
const QUIET_IN_PIPE_MS = 2_000;

/** Says on standard error what is being waited for: a spinner on a terminal, a plain line in a pipe. */
export async function withProgress<Result>(text: string, work: Promise<Result>): Promise<Result> {
  if (!isatty(2)) {
    const timer = setTimeout(() => note(`${text} …`), QUIET_IN_PIPE_MS);
    return work.finally(() => clearTimeout(timer));
  }
  let spinner: { stop(): unknown } | undefined;
  let isOver = false;
  const timer = setTimeout(() => {
    void import('ora').then(({ default: ora }) => {
      if (!isOver) spinner = ora({ text, stream: process.stderr, discardStdin: false }).start();
    });
  }, QUIET_MS);
  try {
    return await work;
  } finally {
    isOver = true;
    clearTimeout(timer);
    spinner?.stop();
  }
}

/** What a longer job shows of itself while it works. */
export interface Progress {
  /** @param share done, from 0 to 1, where it is known */
  show(text: string, share?: number): void;
  /** Prints something beside it, undisturbed. */
  aside(write: () => void): void;
}

/** A spinner on a terminal that says what is being done; in a pipe a line for each new step that takes its time. */
export async function withSteps<Result>(work: (progress: Progress) => Promise<Result>): Promise<Result> {
  if (!isatty(2)) return work(lineProgress());
  const { default: ora } = await import('ora');
  const spinner = ora({ stream: process.stderr, discardStdin: false });
  try {
    return await work({
      show: (text, share) => {
        const percent = share === undefined ? '' : ` ${Math.floor(share * 100)} %`;
        spinner.text = `${text}${percent}`;
        if (!spinner.isSpinning) spinner.start();
      },
      aside: (write) => {
        const wasSpinning = spinner.isSpinning;
        spinner.stop();
        write();
        if (wasSpinning) spinner.start();
      },
    });
  } finally {
    spinner.stop();
  }
}

function lineProgress(): Progress {
  let shown = '';
  return {
    show: (text) => {
      if (text !== shown) note(`${text} …`);
      shown = text;
    },
    aside: (write) => write(),
  };
}
