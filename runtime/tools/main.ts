import { enableCompileCache } from 'node:module';
import { toPilotlightError } from '../../contracts/errors.ts';
import { type ToolJob, type ToolLine, toolJobSchema } from '../../contracts/model-tools.ts';

/**
 * The tool process: one job of the command line (contracts/model-tools.ts), in a process of its own so that its memory
 * and ONNX Runtime's go with it.
 */
enableCompileCache();
process.env['ORT_DISABLE_TELEMETRY'] ??= '1';

/** What a job tells while it works. */
export interface ToolVoice {
  progress(text: string, share?: number): void;
  note(text: string): void;
}

function say(line: ToolLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const voice: ToolVoice = {
  progress: (text, share) => say({ line: 'progress', text, ...(share === undefined ? {} : { share }) }),
  note: (text) => say({ line: 'note', text }),
};

async function work(job: ToolJob, signal: AbortSignal): Promise<unknown> {
  switch (job.tool) {
    case 'compile': {
      const { compile } = await import('./compile.ts');
      return compile(job, voice, signal);
    }
    case 'compare': {
      const { compare } = await import('./compare.ts');
      return compare(job, voice, signal);
    }
    case 'measure-start': {
      const { measureStart } = await import('./measure-start.ts');
      return measureStart(job, voice, signal);
    }
    case 'settle': {
      const { settle } = await import('./settle.ts');
      return settle(job, signal);
    }
    case 'measure-load': {
      const { measureLoad } = await import('./measure-load.ts');
      return measureLoad(job, signal);
    }
  }
}

const parentGone = new AbortController();

/** The first line of standard input: a job may name more samples than an argument can hold. */
function readJob(): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    process.stdin.on('data', (chunk: Buffer) => {
      if (text.includes('\n')) return;
      text += chunk.toString();
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
    process.stdin.once('close', () => {
      parentGone.abort(new Error('whoever asked is gone'));
      resolve(text);
    });
  });
}

let exitCode = 0;
try {
  const result = await work(toolJobSchema.parse(JSON.parse(await readJob())), parentGone.signal);
  say({ line: 'done', result });
} catch (error) {
  const { code, message } = toPilotlightError(error);
  say({ line: 'failed', code, message });
  exitCode = 1;
}
process.stdout.write('', () => process.exit(exitCode));
