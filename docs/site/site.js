// Code that is wider than its box can be scrolled by the keyboard. The theme allows it only while the pointer is there.
const keep = new MutationObserver((changes) => {
  for (const { target } of changes) if (!target.hasAttribute("tabindex")) target.tabIndex = 0;
});
for (const code of document.querySelectorAll("pre > code")) {
  code.tabIndex = 0;
  keep.observe(code, { attributeFilter: ["tabindex"] });
}
