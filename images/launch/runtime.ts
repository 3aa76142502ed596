// In this order: the second one is read compiled because of the first.
import './runtime-compiled-code.ts';
import '../../runtime/main.ts';
