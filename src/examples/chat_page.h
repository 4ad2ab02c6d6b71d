/* chat_page.h: the page of chat.c, as Go programs embed theirs from a file.
 * What others say is put in as text, never as HTML. */
#ifndef EXAMPLES_CHAT_PAGE_H
#define EXAMPLES_CHAT_PAGE_H

static const char chat_page[] =
    "<!DOCTYPE html>\n<title>chat</title>\n<ul id=\"said\"></ul>\n"
    "<form id=\"say\"><input name=\"name\" placeholder=\"name\" required>\n"
    "<input name=\"text\" placeholder=\"text\" required><button>say</button>\n"
    "</form>\n<script>\n"
    "const said = document.getElementById('said');\n"
    "const say = document.getElementById('say');\n"
    "new EventSource('/events').onmessage = event => {\n"
    "  const line = document.createElement('li');\n"
    "  line.textContent = event.data;\n"
    "  said.append(line);\n"
    "};\n"
    "say.onsubmit = event => {\n"
    "  event.preventDefault();\n"
    "  const text = `${say.elements.name.value}: ${say.elements.text.value}`;\n"
    "  const body = new URLSearchParams({text});\n"
    "  fetch('/messages', {method: 'POST', body});\n"
    "  say.elements.text.value = '';\n"
    "};\n</script>\n";

#endif
