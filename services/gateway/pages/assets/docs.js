// Opens Swagger UI on this server's own document; a key that is entered stays in this tab.
window.addEventListener("load", () => {
  window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#api",
    deepLinking: true,
    docExpansion: "list",
    persistAuthorization: false,
    validatorUrl: null,
    tryItOutEnabled: true,
  });
});
