/** Owns finding the file that declares a symbol or an extension, among files and all they import. */
import type { DescEnum, DescExtension, DescFile, DescMessage, DescService } from "@bufbuild/protobuf";

export class DescriptorIndex {
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();
  /** By the extended type and the extension's number. */
  readonly #extensions = new Map<string, Map<number, DescFile>>();

  constructor(files: readonly DescFile[]) {
    for (const file of files) this.#addFile(file);
  }

  file(name: string): DescFile | undefined {
    return this.#files.get(name);
  }

  /** By full name, with or without a leading dot: a message, field, oneof, enum, enum value, extension, service or method. */
  symbol(name: string): DescFile | undefined {
    return this.#symbols.get(name.replace(/^\./, ""));
  }

  extension(extendee: string, number: number): DescFile | undefined {
    return this.#extensions.get(extendee)?.get(number);
  }

  extensionNumbers(extendee: string): number[] {
    return [...(this.#extensions.get(extendee)?.keys() ?? [])];
  }

  #addFile(file: DescFile): void {
    if (this.#files.has(file.proto.name)) return;
    this.#files.set(file.proto.name, file);
    for (const dependency of file.dependencies) this.#addFile(dependency);
    for (const service of file.services) this.#addService(service);
    for (const message of file.messages) this.#addMessage(message);
    for (const enumeration of file.enums) this.#addEnum(enumeration);
    for (const extension of file.extensions) this.#addExtension(extension);
  }

  #addService(service: DescService): void {
    this.#symbols.set(service.typeName, service.file);
    for (const { name } of service.methods) this.#symbols.set(`${service.typeName}.${name}`, service.file);
  }

  #addMessage(message: DescMessage): void {
    this.#symbols.set(message.typeName, message.file);
    for (const { name } of [...message.fields, ...message.oneofs]) {
      this.#symbols.set(`${message.typeName}.${name}`, message.file);
    }
    for (const nested of message.nestedMessages) this.#addMessage(nested);
    for (const nested of message.nestedEnums) this.#addEnum(nested);
    for (const nested of message.nestedExtensions) this.#addExtension(nested);
  }

  /** The values of an enum are siblings of it, as in C++. */
  #addEnum(enumeration: DescEnum): void {
    this.#symbols.set(enumeration.typeName, enumeration.file);
    const scope = enumeration.typeName.slice(0, enumeration.typeName.lastIndexOf(".") + 1);
    for (const { name } of enumeration.values) this.#symbols.set(scope + name, enumeration.file);
  }

  #addExtension(extension: DescExtension): void {
    this.#symbols.set(extension.typeName, extension.file);
    const extendee = extension.extendee.typeName;
    const numbers = this.#extensions.get(extendee) ?? new Map<number, DescFile>();
    numbers.set(extension.number, extension.file);
    this.#extensions.set(extendee, numbers);
  }
}
