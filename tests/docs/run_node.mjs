// Runs the pages' Node examples in one process, several pages at a time: node run_node.mjs AT_ONCE PAGE…
const [atOnce, ...pages] = process.argv.slice(2);
let failed = 0;

async function work() {
  for (let page = pages.shift(); page !== undefined; page = pages.shift()) {
    try {
      await import(`./${page}.mjs`);
      console.log(`── ${page}`);
    } catch (error) {
      failed += 1;
      console.error(`${page} failed:`, error);
    }
  }
}

await Promise.all(Array.from({ length: Number(atOnce) }, work));
process.exit(failed ? 1 : 0);
