// Runs in the image while it is built, as the user and with the flags that its programs run with: imports modules,
// so that Node keeps them compiled in the folder that NODE_COMPILE_CACHE names. Node compiles a module before any of
// its code runs, so what is kept depends on the modules alone.
//
// node --random-seed=1 compile.mjs PACKAGE… FILE…      (names of packages have no slash at the front)
import { createRequire, flushCompileCache, getCompileCacheDir } from 'node:module';
import { Worker } from 'node:worker_threads';

if (getCompileCacheDir() === undefined)
  throw new Error('expected NODE_COMPILE_CACHE to name a writable folder');

const modules = process.argv.slice(2);
for (const name of modules) {
  if (!name.startsWith('/')) createRequire(modules.at(-1))(name);
  else if (!name.endsWith('/worker.js')) await import(name);
}
for (const name of modules.filter((file) => file.endsWith('/worker.js'))) {
  // It says so when it has started; imported here it would find no thread to serve.
  const worker = new Worker(
    `require('node:module').enableCompileCache(); import(${JSON.stringify(`file://${name}`)});`,
    { eval: true },
  );
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  await worker.terminate();
}
flushCompileCache();
