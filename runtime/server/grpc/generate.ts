import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import descriptor, { type IDescriptorProto, type IFileDescriptorProto } from 'protobufjs/ext/descriptor.js';

/**
 * Writes `descriptors.ts`, which reflection answers with, from the `.proto` files beside it and in contracts/; with `--check` says
 * whether the committed one is current. Exit codes: 0 written or current, 1 not current, 2 wrong arguments.
 */

/** Each by the name that tools know it by, from which file, and in which package. */
const FILES = [
  { name: 'inference.proto', from: '../../../contracts/inference.proto', package: 'inference' },
  { name: 'grpc/health/v1/health.proto', from: 'health.proto', package: 'grpc.health.v1' },
  { name: 'grpc/reflection/v1/reflection.proto', from: 'reflection.proto', package: 'grpc.reflection.v1' },
  {
    name: 'grpc/reflection/v1alpha/reflection.proto',
    from: 'reflection.proto',
    package: 'grpc.reflection.v1alpha',
  },
] as const;

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

async function fileDescriptor(file: (typeof FILES)[number]): Promise<IFileDescriptorProto> {
  const source = await readFile(here(file.from), 'utf8');
  const root = new protobuf.Root();
  protobuf.parse(source.replace(/^package .*;$/m, `package ${file.package};`), root, { keepCase: true });
  root.resolveAll();
  const [proto, ...others] = root.toDescriptor('proto3').file ?? [];
  if (proto === undefined || others.length > 0) throw new Error(`${file.from}: expected one package`);
  proto.name = file.name;
  for (const message of proto.messageType ?? []) nameMapEntries(message);
  const names = symbolsOf(proto);
  for (const message of proto.messageType ?? []) qualify(message, `.${file.package}`, names);
  for (const service of proto.service ?? []) {
    for (const method of service.method ?? []) {
      method.inputType = fullName(method.inputType ?? '', `.${file.package}`, names);
      method.outputType = fullName(method.outputType ?? '', `.${file.package}`, names);
    }
  }
  return proto;
}

/** Every symbol of a file by its full name: messages, enums, services and their methods. */
function symbolsOf(proto: IFileDescriptorProto): string[] {
  const names: string[] = [];
  const add = (scope: string, { name, nestedType, enumType }: IDescriptorProto): void => {
    const full = `${scope}.${name}`;
    names.push(full);
    for (const one of enumType ?? []) names.push(`${full}.${one.name}`);
    for (const one of nestedType ?? []) add(full, one);
  };
  const scope = proto.package ?? '';
  for (const one of proto.messageType ?? []) add(scope, one);
  for (const one of proto.enumType ?? []) names.push(`${scope}.${one.name}`);
  for (const service of proto.service ?? []) {
    names.push(`${scope}.${service.name}`);
    for (const method of service.method ?? []) names.push(`${scope}.${service.name}.${method.name}`);
  }
  return names;
}

/** The entries of `map<…> parameters` are called ParametersEntry, which readers insist on; protobufjs leaves the Entry out. */
function nameMapEntries(message: IDescriptorProto): void {
  for (const nested of message.nestedType ?? []) {
    nameMapEntries(nested);
    if (nested.options?.mapEntry !== true) continue;
    const plain = nested.name ?? '';
    nested.name = `${plain}Entry`;
    for (const field of message.field ?? []) if (field.typeName === plain) field.typeName = nested.name;
  }
}

/** Some readers of descriptors take full type names only, and protobufjs writes them as they stand in the source. */
function qualify(message: IDescriptorProto, scope: string, names: readonly string[]): void {
  const inner = `${scope}.${message.name}`;
  for (const field of message.field ?? []) {
    if (field.typeName !== undefined && field.typeName !== null && field.typeName !== '') {
      field.typeName = fullName(field.typeName, inner, names);
    }
  }
  for (const nested of message.nestedType ?? []) qualify(nested, inner, names);
}

function fullName(name: string, scope: string, names: readonly string[]): string {
  if (name.startsWith('.')) return name;
  for (let from = scope; from !== ''; from = from.slice(0, from.lastIndexOf('.'))) {
    if (names.includes(`${from}.${name}`.slice(1))) return `${from}.${name}`;
  }
  throw new Error(`no type ${name} in ${scope}`);
}

async function descriptorsSource(): Promise<string> {
  const entries = await Promise.all(
    FILES.map(async ({ name, ...file }) => {
      const proto = await fileDescriptor({ name, ...file } as (typeof FILES)[number]);
      const bytes = descriptor.FileDescriptorProto.encode(proto).finish();
      const services = (proto.service ?? []).map((service) => `${file.package}.${service.name}`);
      const list = (items: readonly string[], indent: string): string =>
        items.map((item) => `\n${indent}  '${item}',`).join('') + (items.length > 0 ? `\n${indent}` : '');
      return `  {
    name: '${name}',
    services: [${services.map((service) => `'${service}'`).join(', ')}],
    symbols: [${list(symbolsOf(proto), '    ')}],
    base64:
      '${Buffer.from(bytes).toString('base64')}',
  },\n`;
    }),
  );
  return `// Generated from the .proto files by generate.ts; don't edit.

/** A file of the protocols served here, as reflection hands it out. */
export interface ServedFile {
  readonly name: string;
  readonly services: readonly string[];
  /** Full names of everything that it declares, fields and values of enums left out. */
  readonly symbols: readonly string[];
  /** The google.protobuf.FileDescriptorProto. */
  readonly base64: string;
}

export const SERVED_FILES: readonly ServedFile[] = [
${entries.join('')}];
`;
}

async function main(args: readonly string[]): Promise<number> {
  const isCheck = args.length === 1 && args[0] === '--check';
  if (args.length > 0 && !isCheck) {
    process.stderr.write('usage: node runtime/server/grpc/generate.ts [--check]\n');
    return 2;
  }
  const path = here('descriptors.ts');
  const generated = await descriptorsSource();
  if (!isCheck) {
    await writeFile(path, generated);
    return 0;
  }
  const committed = await readFile(path, 'utf8').catch(() => '');
  if (committed === generated) return 0;
  process.stderr.write(`${path} is not current, run: node runtime/server/grpc/generate.ts\n`);
  return 1;
}

process.exitCode = await main(process.argv.slice(2));
