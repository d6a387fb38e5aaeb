// Where the page keeps its state while its tab lives. The exported page uses page_storage.js instead.

export const storage = window.sessionStorage;
