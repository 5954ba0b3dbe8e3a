// Tells what a program that uses a client sees, one line of JSON a case: what it returned, or what it threw.
export const TEXT = "The quick brown fox jumps over the lazy dog.";

export const tell = async (cases) => {
  for (const [name, run] of Object.entries(cases)) {
    const heard = []; // the pieces that the case has got from a stream: one that breaks leaves them there
    let seen;
    try {
      seen = { answer: await run(heard) };
    } catch (error) {
      seen = { raised: [...classes(error)], says: String(error.message) };
    }
    console.log(JSON.stringify({ case: name, heard, ...seen }));
  }
};

// The classes that `instanceof` would find, or the name by which a package has its errors told apart.
function* classes(error) {
  if (error.name && error.name !== error.constructor.name) yield error.name;
  for (let one = error.constructor; one?.name; one = Object.getPrototypeOf(one)) yield one.name;
  if (error.statusCode ?? error.status) yield `status ${error.statusCode ?? error.status}`;
  if (error.code) yield `code ${error.code}`;
  for (const cause of [error.lastError, error.cause].filter(Boolean)) {
    for (const name of classes(cause)) yield `from ${name}`;
  }
}
